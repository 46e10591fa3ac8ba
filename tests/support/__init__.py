"""What several test packages need: running the real QEMU tools."""
