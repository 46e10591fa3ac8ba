"""What walking a tree needs to know of it, and nothing else."""

from typing import Protocol

from qcow2_dump.ondisk.constants import MAX_FILE_OFFSET, SECTOR_SIZE

__all__ = ["TreeRoot", "disk_end", "l1_entries_inside"]


class TreeRoot(Protocol):
    """Where a tree starts: its L1 table (bytes, entries) and the size of its disk in bytes.

    A tree that is not usable has an L1 table that cannot be read where the image says it is.
    """

    @property
    def l1_offset(self) -> int: ...
    @property
    def l1_size(self) -> int: ...
    @property
    def disk_size(self) -> int: ...
    @property
    def usable(self) -> bool: ...


def disk_end(root: TreeRoot) -> int:
    """The end of a tree's disk in bytes: QEMU only uses its whole sectors."""
    return min(root.disk_size, MAX_FILE_OFFSET) // SECTOR_SIZE * SECTOR_SIZE


def l1_entries_inside(root: TreeRoot, file_size: int) -> int:
    """How many L1 entries of a tree lie in a file of that many bytes: the others read as zeros.

    The last sector counts as whole, as QEMU sees it.
    """
    end = -(-file_size // SECTOR_SIZE) * SECTOR_SIZE
    return min(root.l1_size, max(0, end - root.l1_offset) // 8)
