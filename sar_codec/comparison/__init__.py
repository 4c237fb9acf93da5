"""What runs came to, side by side: read, tabulated and drawn."""
