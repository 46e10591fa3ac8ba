"""Real images made by qemu-img and qemu-io, and the ways in which they are damaged."""
