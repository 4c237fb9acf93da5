"""What a codec is worth: its rate and distortion beside those of others, on the same pixels."""
