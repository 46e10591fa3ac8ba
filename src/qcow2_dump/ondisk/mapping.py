"""One L1, L2 or refcount table entry (format sections 2.3, 2.4, 3 and 4).

======  ====================  =========================================================
bits    L1 entry              L2 entry, not compressed
======  ====================  =========================================================
0       reserved              cluster reads as zeros (unused with extended L2)
1..8    reserved              reserved
9..55   offset of L2 table    host offset of the cluster
56..61  reserved              reserved
62      reserved              compressed: the other bits are a CompressedDescriptor
63      COPIED                COPIED: the refcount is exactly 1
======  ====================  =========================================================
"""

from enum import IntEnum, IntFlag
from typing import NamedTuple, Self

from qcow2_dump.ondisk.constants import SECTOR_SIZE

L1_OFFSET_MASK = 0x00FF_FFFF_FFFF_FE00
L1_RESERVED_MASK = 0x7F00_0000_0000_01FF
L2_OFFSET_MASK = 0x00FF_FFFF_FFFF_FE00
L2_RESERVED_MASK = 0x3F00_0000_0000_01FE
REFCOUNT_TABLE_OFFSET_MASK = 0xFFFF_FFFF_FFFF_FE00
REFCOUNT_TABLE_RESERVED_MASK = 0x1FF

SUBCLUSTER_ALLOCATED_MASK = 0x0000_0000_FFFF_FFFF
SUBCLUSTER_ZERO_MASK = 0xFFFF_FFFF_0000_0000


class EntryFlag(IntFlag):
    """Flag bits of a mapping entry; L1 entries know only COPIED."""

    COPIED = 1 << 63
    COMPRESSED = 1 << 62
    ZERO = 1


_COPIED = int(EntryFlag.COPIED)
_COMPRESSED = int(EntryFlag.COMPRESSED)
_ZERO = int(EntryFlag.ZERO)


class ClusterType(IntEnum):
    """What an L2 entry makes of its guest cluster (format section 3.3)."""

    UNALLOCATED = 0
    ZERO_PLAIN = 1
    ZERO_ALLOC = 2
    NORMAL = 3
    COMPRESSED = 4


def cluster_type(raw: int, *, extended_l2: bool, data_file: bool) -> ClusterType:
    """The type of an L2 entry's first word, decided in QEMU's order (format section 3.3)."""
    if raw & _COMPRESSED:
        return ClusterType.COMPRESSED
    allocated = raw & L2_OFFSET_MASK != 0
    if raw & _ZERO and not extended_l2:
        return ClusterType.ZERO_ALLOC if allocated else ClusterType.ZERO_PLAIN
    # Offset 0 is a real place in an external data file; COPIED tells it from "nowhere".
    if allocated or (data_file and raw & _COPIED):
        return ClusterType.NORMAL
    return ClusterType.UNALLOCATED


def subcluster_conflict(bitmap: int) -> int:
    """Subclusters (bit x for subcluster x) that are marked both allocated and zero."""
    return (bitmap >> 32) & bitmap & SUBCLUSTER_ALLOCATED_MASK


class CompressedDescriptor(NamedTuple):
    """Where a compressed stream lies (format section 2.4).

    ``offset`` is a byte offset of any alignment, ``extra_sectors`` counts the 512-byte
    sectors that the stream touches beyond the one in which it starts.
    """

    offset: int
    extra_sectors: int

    @classmethod
    def unpack(cls, raw: int, cluster_bits: int) -> Self:
        """Decode an L2 entry; bits 62 and 63 are not looked at."""
        offset_bits = 70 - cluster_bits
        extra = (raw >> offset_bits) & ((1 << (62 - offset_bits)) - 1)
        return cls(raw & ((1 << offset_bits) - 1), extra)

    def pack(self, cluster_bits: int) -> int:
        """The L2 entry, with bit 62 set. Raises ValueError when a part does not fit."""
        offset_bits = 70 - cluster_bits
        if not 0 <= self.offset < 1 << offset_bits:
            raise ValueError(f"compressed offset {self.offset:#x} needs over {offset_bits} bits")
        if not 0 <= self.extra_sectors < 1 << (62 - offset_bits):
            raise ValueError(f"{self.extra_sectors} sectors do not fit beside the offset")
        return _COMPRESSED | self.extra_sectors << offset_bits | self.offset

    @property
    def length(self) -> int:
        """Bytes from the start of the stream to the end of its last sector."""
        return SECTOR_SIZE * (self.extra_sectors + 1) - self.offset % SECTOR_SIZE

    def host_clusters(self, cluster_bits: int) -> range:
        """The host clusters that the stream touches; each holds one reference for it."""
        last = (self.offset + self.length - 1) >> cluster_bits
        return range(self.offset >> cluster_bits, last + 1)


class L1Entry(NamedTuple):
    """One L1 entry as stored; unknown bits are kept, so packing gives the same bytes back."""

    raw: int

    @classmethod
    def make(cls, offset: int, *, copied: bool) -> Self:
        """An entry for the L2 table at ``offset``. Raises ValueError for an impossible offset."""
        if offset & ~L1_OFFSET_MASK:
            raise ValueError(f"L2 table offset {offset:#x} does not fit an L1 entry")
        return cls(offset | (_COPIED if copied else 0))

    @classmethod
    def unpack(cls, data: bytes) -> Self:
        """Read the first 8 bytes of ``data``."""
        return cls(int.from_bytes(data[:8], "big"))

    def pack(self) -> bytes:
        """The 8 bytes on disk."""
        return self.raw.to_bytes(8, "big")

    @property
    def offset(self) -> int:
        """Host offset of the L2 table, 0 when there is none."""
        return self.raw & L1_OFFSET_MASK

    @property
    def copied(self) -> bool:
        """Whether the L2 table is claimed to have a refcount of exactly 1."""
        return self.raw & _COPIED != 0

    @property
    def reserved(self) -> int:
        """The bits that must be 0."""
        return self.raw & L1_RESERVED_MASK


class L2Entry(NamedTuple):
    """One L2 entry as stored, with the subcluster bitmap of an extended one (else 0)."""

    raw: int
    bitmap: int = 0

    @classmethod
    def make(cls, offset: int, *, copied: bool, zero: bool = False, bitmap: int = 0) -> Self:
        """An uncompressed entry. Raises ValueError for an impossible offset."""
        if offset & ~L2_OFFSET_MASK:
            raise ValueError(f"host offset {offset:#x} does not fit an L2 entry")
        return cls(offset | (_COPIED if copied else 0) | (_ZERO if zero else 0), bitmap)

    @classmethod
    def unpack(cls, data: bytes, *, extended_l2: bool = False) -> Self:
        """Read the first 8 bytes of ``data``, or 16 with ``extended_l2``."""
        bitmap = int.from_bytes(data[8:16], "big") if extended_l2 else 0
        return cls(int.from_bytes(data[:8], "big"), bitmap)

    def pack(self, *, extended_l2: bool = False) -> bytes:
        """The 8 or 16 bytes on disk."""
        head = self.raw.to_bytes(8, "big")
        return head + self.bitmap.to_bytes(8, "big") if extended_l2 else head

    @property
    def offset(self) -> int:
        """Host offset of an uncompressed entry, 0 when there is none."""
        return self.raw & L2_OFFSET_MASK

    @property
    def copied(self) -> bool:
        """Whether the cluster is claimed to have a refcount of exactly 1."""
        return self.raw & _COPIED != 0

    @property
    def compressed(self) -> bool:
        """Whether the entry is a compressed cluster descriptor."""
        return self.raw & _COMPRESSED != 0

    @property
    def reserved(self) -> int:
        """The bits of an uncompressed entry that must be 0."""
        return self.raw & L2_RESERVED_MASK

    def descriptor(self, cluster_bits: int) -> CompressedDescriptor:
        """What a compressed entry says; meaningless for the others."""
        return CompressedDescriptor.unpack(self.raw, cluster_bits)

    def cluster_type(self, *, extended_l2: bool, data_file: bool) -> ClusterType:
        """See :func:`cluster_type`."""
        return cluster_type(self.raw, extended_l2=extended_l2, data_file=data_file)
