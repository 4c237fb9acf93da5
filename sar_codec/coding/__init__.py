"""From images to files and back: the container of bytes, and what is put in it."""
