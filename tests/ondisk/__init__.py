"""What the bytes mean, measured examples and limits."""
