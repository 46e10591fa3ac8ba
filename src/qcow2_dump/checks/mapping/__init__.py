"""What is said of L1 and L2 entries: their findings, claims and statistics."""
