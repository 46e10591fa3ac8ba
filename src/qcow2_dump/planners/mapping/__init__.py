"""L1 and L2 entries: mended, given up, copied apart."""
