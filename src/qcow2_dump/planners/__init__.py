"""What to do about it: makers of plans."""
