"""Fields of the header and of the bitmaps, and bytes by hand."""
