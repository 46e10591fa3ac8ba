"""The real qemu-img as judge."""
