"""What would be written: byte ranges and their order. Knows nothing of qcow2."""
