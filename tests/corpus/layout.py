"""Where the tables of a *sound* image are.

The smallest reader that lets a damage find its victim. It shares nothing with the package under
test, so that a misreading there cannot hide here, and it trusts the image: it is only ever used
before the damage is done.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from functools import cached_property
from pathlib import Path

from tests.corpus.imagefile import ImageFile

OFFSET_MASK = 0x00FF_FFFF_FFFF_FE00
COPIED = 1 << 63
COMPRESSED = 1 << 62

BACKING_FORMAT = 0xE2792ACA
BITMAPS = 0x23852875
CRYPTO = 0x0537BE77
DATA_FILE = 0x44415441


class Kind(Enum):
    """What an L2 entry says."""

    NORMAL = "normal"
    ZERO_ALLOCATED = "zero-allocated"
    ZERO_PLAIN = "zero-plain"
    UNALLOCATED = "unallocated"
    COMPRESSED = "compressed"


@dataclass(frozen=True)
class Slot:
    """One 64-bit table entry: its file offset, its index in the table, its value."""

    offset: int
    index: int
    value: int

    @property
    def target(self) -> int:
        """The cluster-aligned file offset that the entry points to, 0 for none."""
        return self.value & OFFSET_MASK


@dataclass(frozen=True)
class Mapping:
    """One L2 entry that is not zero: position, raw value and what it maps."""

    offset: int
    value: int
    bitmap: int
    kind: Kind
    guest_cluster: int
    table: int

    @property
    def target(self) -> int:
        """The host offset of an uncompressed entry, 0 for none."""
        return 0 if self.kind is Kind.COMPRESSED else self.value & OFFSET_MASK


@dataclass(frozen=True)
class Tree:
    """An L1 table with its used entries: the active one or a snapshot's."""

    name: str
    l1_offset: int
    l1_size: int
    l1: tuple[Slot, ...]


@dataclass(frozen=True)
class SnapshotRecord:
    """A record of the snapshot table; offset and length in bytes, without the final padding."""

    offset: int
    length: int
    l1_offset: int
    l1_size: int
    extra_size: int


@dataclass(frozen=True)
class Extension:
    """A header extension: type, where its 8-byte head is, how long its data is."""

    type: int
    offset: int
    length: int


@dataclass(frozen=True)
class Bitmap:
    """A bitmap directory entry and the used entries of its table."""

    offset: int
    table_offset: int
    table_entries: int
    table: tuple[Slot, ...]


class Layout:
    """The tables of the sound image at `path`; all offsets are bytes in the image file."""

    def __init__(self, path: Path) -> None:
        with ImageFile(path, writable=False) as image:
            self._read_header(image)
            self.length = image.length
            self.extensions = self._read_extensions(image)
            self.snapshots = self._read_snapshots(image)
            self.trees = self._read_trees(image)
            self.refcount_table = self._slots(
                image, self.rt_offset, self.rt_clusters * self.cluster_size // 8
            )
            self.bitmaps = self._read_bitmaps(image)
            self._mappings = {tree.name: self._read_l2(image, tree) for tree in self.trees}

    def _read_header(self, image: ImageFile) -> None:
        self.version = image.get(4, 4)
        self.backing_offset = image.get(8)
        self.cluster_bits = image.get(20, 4)
        self.cluster_size = 1 << self.cluster_bits
        self.size = image.get(24)
        self.crypt_method = image.get(32, 4)
        self.l1_size = image.get(36, 4)
        self.l1_offset = image.get(40)
        self.rt_offset = image.get(48)
        self.rt_clusters = image.get(56, 4)
        self.snapshot_count = image.get(60, 4)
        self.snapshots_offset = image.get(64)
        modern = self.version >= 3
        self.incompatible = image.get(72) if modern else 0
        self.refcount_bits = 1 << image.get(96, 4) if modern else 16
        self.header_length = image.get(100, 4) if modern else 72
        self.extended = bool(self.incompatible & 16)
        self.data_file = bool(self.incompatible & 4)
        self.entry_size = 16 if self.extended else 8
        self.l2_entries = self.cluster_size // self.entry_size

    def _read_extensions(self, image: ImageFile) -> tuple[Extension, ...]:
        found = []
        offset = self.header_length
        end = self.backing_offset or self.cluster_size
        while offset + 8 <= end and image.get(offset, 4) != 0:
            length = image.get(offset + 4, 4)
            found.append(Extension(image.get(offset, 4), offset, length))
            offset += 8 + (length + 7) // 8 * 8
        return tuple(found)

    def _read_snapshots(self, image: ImageFile) -> tuple[SnapshotRecord, ...]:
        records = []
        offset = self.snapshots_offset
        for _ in range(self.snapshot_count):
            extra = image.get(offset + 36, 4)
            length = 40 + extra + image.get(offset + 12, 2) + image.get(offset + 14, 2)
            records.append(
                SnapshotRecord(offset, length, image.get(offset), image.get(offset + 8, 4), extra)
            )
            offset += (length + 7) // 8 * 8
        return tuple(records)

    def _read_trees(self, image: ImageFile) -> tuple[Tree, ...]:
        roots = [("active", self.l1_offset, self.l1_size)]
        roots += [
            (f"snapshot {number}", record.l1_offset, record.l1_size)
            for number, record in enumerate(self.snapshots)
        ]
        return tuple(
            Tree(name, offset, size, self._slots(image, offset, size))
            for name, offset, size in roots
        )

    def _slots(self, image: ImageFile, offset: int, count: int) -> tuple[Slot, ...]:
        values = image.words(offset, count)
        return tuple(Slot(offset + 8 * i, i, value) for i, value in enumerate(values) if value)

    def _read_bitmaps(self, image: ImageFile) -> tuple[Bitmap, ...]:
        extension = self.extension(BITMAPS)
        if extension is None:
            return ()
        found = []
        offset = image.get(extension.offset + 8 + 16)
        for _ in range(image.get(extension.offset + 8, 4)):
            table, entries = image.get(offset), image.get(offset + 8, 4)
            found.append(Bitmap(offset, table, entries, self._slots(image, table, entries)))
            length = 24 + image.get(offset + 18, 2) + image.get(offset + 20, 4)
            offset += (length + 7) // 8 * 8
        return tuple(found)

    def _read_l2(self, image: ImageFile, tree: Tree) -> tuple[Mapping, ...]:
        found = []
        step = self.entry_size // 8
        for slot in tree.l1:
            words = image.words(slot.target, self.cluster_size // 8)
            for index in range(self.l2_entries):
                value = words[index * step]
                bitmap = words[index * step + 1] if self.extended else 0
                if value or bitmap:
                    found.append(
                        Mapping(
                            slot.target + index * self.entry_size,
                            value,
                            bitmap,
                            self._kind(value),
                            slot.index * self.l2_entries + index,
                            slot.target,
                        )
                    )
        return tuple(found)

    def _kind(self, value: int) -> Kind:
        if value & COMPRESSED:
            return Kind.COMPRESSED
        if not self.extended and value & 1:
            return Kind.ZERO_ALLOCATED if value & OFFSET_MASK else Kind.ZERO_PLAIN
        if value & OFFSET_MASK or (self.data_file and value & COPIED):
            return Kind.NORMAL
        return Kind.UNALLOCATED

    @property
    def active(self) -> Tree:
        """The tree that the guest sees."""
        return self.trees[0]

    @property
    def clusters(self) -> int:
        """Host clusters in the file, a partial last one included."""
        return -(-self.length // self.cluster_size)

    def mappings(self, tree: Tree, *kinds: Kind) -> list[Mapping]:
        """The non-zero L2 entries of `tree` in guest order, of these kinds only if any given."""
        return [m for m in self._mappings[tree.name] if not kinds or m.kind in kinds]

    def extension(self, kind: int) -> Extension | None:
        """The header extension of that type, or None."""
        return next((e for e in self.extensions if e.type == kind), None)

    def compressed_extent(self, value: int) -> tuple[int, int]:
        """Byte offset and length of the sectors that a compressed entry covers."""
        shift = 62 - (self.cluster_bits - 8)
        offset = value & ((1 << shift) - 1)
        sectors = (value & (COMPRESSED - 1)) >> shift
        return offset, 512 * (sectors + 1) - offset % 512

    @cached_property
    def l2_tables(self) -> tuple[int, ...]:
        """Offsets of all L2 tables, of every tree, in host order."""
        return tuple(sorted({slot.target for tree in self.trees for slot in tree.l1}))

    @cached_property
    def metadata(self) -> tuple[int, ...]:
        """Offsets of clusters that hold tables of any kind, without the header's, in host order."""
        regions = [(self.rt_offset, self.rt_clusters * self.cluster_size)]
        regions += [(tree.l1_offset, 8 * tree.l1_size) for tree in self.trees]
        regions += [(slot.target, 1) for slot in self.refcount_table]
        regions += [(offset, 1) for offset in self.l2_tables]
        regions += [(record.offset, record.length) for record in self.snapshots]
        regions += [(bitmap.table_offset, 8 * bitmap.table_entries) for bitmap in self.bitmaps]
        regions += [(bitmap.offset, 24) for bitmap in self.bitmaps]
        found: set[int] = set()
        for offset, length in regions:
            if length:
                first = offset // self.cluster_size
                last = (offset + length - 1) // self.cluster_size
                found.update(range(first, last + 1))
        return tuple(cluster * self.cluster_size for cluster in sorted(found))

    def refcount(self, image: ImageFile, cluster: int) -> int:
        """The count stored for a host cluster, 0 where there is no refcount block."""
        place = self._refcount_place(cluster)
        if place is None:
            return 0
        offset, shift, width = place
        return (image.get(offset, width) >> shift) & ((1 << self.refcount_bits) - 1)

    def set_refcount(self, image: ImageFile, cluster: int, value: int) -> bool:
        """Store the count of a host cluster; False where there is no refcount block."""
        place = self._refcount_place(cluster)
        if place is None:
            return False
        offset, shift, width = place
        mask = ((1 << self.refcount_bits) - 1) << shift
        old = image.get(offset, width)
        image.put(offset, (old & ~mask) | (value << shift), width)
        return True

    def _refcount_place(self, cluster: int) -> tuple[int, int, int] | None:
        """File offset, bit shift and byte width of a count. Narrow ones start at bit 0."""
        per_block = self.cluster_size * 8 // self.refcount_bits
        blocks = {slot.index: slot.value for slot in self.refcount_table}
        block = blocks.get(cluster // per_block)
        if block is None:
            return None
        bit = cluster % per_block * self.refcount_bits
        if self.refcount_bits >= 8:
            return block + bit // 8, 0, self.refcount_bits // 8
        return block + bit // 8, bit % 8, 1
