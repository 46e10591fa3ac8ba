"""What the bytes of a qcow2 image mean: pure values, in both directions, without any I/O."""
