"""Reading the tables of any image, damaged or not, as QEMU reads them; nothing shared with ours.

Whatever cannot be used is left out: a judge compares two such readings of nearly the same image.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from tests.corpus.layout import BITMAPS, COMPRESSED, COPIED, CRYPTO, OFFSET_MASK

U64 = NDArray[np.uint64]

MOST_L1 = 4_194_304
MOST_REFCOUNT_TABLE = 8 << 20
MOST_RECORDS = 1000
MOST_CLUSTERS = 1 << 24
FARTHEST = 0x7FFF_FFFF_C000_0000
_MASK = np.uint64(OFFSET_MASK)


class Bytes(Protocol):
    """An image's bytes: reads past the end deliver zeros."""

    @property
    def length(self) -> int:
        """Bytes in the file."""
        ...

    def read(self, offset: int, length: int) -> bytes:
        """Exactly so many bytes."""
        ...


class Held:
    """An image held in memory."""

    def __init__(self, data: bytes | bytearray) -> None:
        self.data = data

    @property
    def length(self) -> int:
        """Bytes in the file."""
        return len(self.data)

    def read(self, offset: int, length: int) -> bytes:
        """Exactly so many bytes, zeros past the end."""
        return bytes(self.data[offset : offset + length]).ljust(length, b"\0")


@dataclass(frozen=True)
class Tree:
    """An L1 table and whose it is: `ident` is the ID of the snapshot, None for the active one."""

    position: int
    ident: bytes | None
    l1_offset: int
    l1: U64


@dataclass(frozen=True)
class Entries:
    """The L2 entries of a tree that are not zero: guest cluster, place in the file, both words."""

    guest: NDArray[np.int64]
    place: NDArray[np.int64]
    value: U64
    bitmap: U64


class Unreadable(Exception):  # noqa: N818 - no error: nobody could read this image
    """The header says nothing that tables could be found by."""


class Tables:
    """The tables of an image. Raises `Unreadable`.

    Given what the image was, refcount structures that lay past its end then are none now either,
    as long as what points there is the same: a file that grew has only zeros in their place.
    """

    def __init__(self, image: Bytes, was: Tables | None = None) -> None:
        self.image = image
        self.was = was
        self.end = -(-image.length // 512) * 512
        self._read_header()
        self.trees = tuple(self._trees())

    def get(self, offset: int, width: int = 8) -> int:
        """The integer at a file offset."""
        return int.from_bytes(self.image.read(offset, width), "big")

    def _read_header(self) -> None:
        if self.image.length < 72 or self.get(0, 4) != 0x514649FB or self.get(4, 4) not in (2, 3):
            raise Unreadable("no header")
        self.version = self.get(4, 4)
        self.cluster_bits = self.get(20, 4)
        if not 9 <= self.cluster_bits <= 21:
            raise Unreadable(f"clusters of {self.cluster_bits} bits")
        self.cluster_size = 1 << self.cluster_bits
        self.backed = self.get(8) != 0
        self.crypt_method = self.get(32, 4)
        features = self.get(72) if self.version == 3 else 0
        order = self.get(96, 4) if self.version == 3 else 4
        if order > 6:
            raise Unreadable(f"refcounts of 2^{order} bits")
        self.refcount_bits = 1 << order
        self.header_length = self.get(100, 4) if self.version == 3 else 72
        self.data_file = bool(features & 4)
        self.extended = bool(features & 16)
        self.zstd = bool(features & 8) and self.get(104, 1) == 1
        self.words = 2 if self.extended else 1
        self.l2_entries = self.cluster_size // (8 * self.words)
        # QEMU's repair may leave a file of exabytes, nearly all of it a hole.
        self.clusters = min(MOST_CLUSTERS, -(-self.end // self.cluster_size))

    def array(self, offset: int, count: int) -> U64:
        """So many big-endian words from an offset on."""
        if not count:
            return np.empty(0, np.uint64)
        data = np.frombuffer(self.image.read(offset, 8 * count), ">u8")
        return data.astype(np.uint64)

    def usable(self, offset: int, length: int = 1) -> bool:
        """Whether a table can be at an offset: aligned, and not beyond the end (by 8.2)."""
        aligned = offset % self.cluster_size == 0 and offset > 0
        inside = offset + length < FARTHEST and offset + length - self.end < self.cluster_size
        return aligned and inside

    def _trees(self) -> list[Tree]:
        found = [self._tree(0, None, self.get(40), self.get(36, 4))]
        found += [
            self._tree(number, ident, offset, size)
            for number, (ident, offset, size) in enumerate(self._records(), 1)
        ]
        return found

    def _tree(self, number: int, ident: bytes | None, offset: int, size: int) -> Tree:
        good = size <= MOST_L1 and self.usable(offset, max(1, 8 * size))
        return Tree(number, ident, offset, self.array(offset, size if good else 0))

    def _records(self) -> list[tuple[bytes, int, int]]:
        count, start = self.get(60, 4), self.get(64)
        if not self.usable(start):
            return []
        if self.was is not None and self.was.image.read(60, 12) == self.image.read(60, 12):
            # The rest lay past the end, and still is no record.
            count = len(self.was.trees) - 1
        found = []
        offset = start
        for _ in range(min(count, MOST_RECORDS)):
            extra, id_length = self.get(offset + 36, 4), self.get(offset + 12, 2)
            end = offset + 40 + extra + id_length + self.get(offset + 14, 2)
            if end > self.image.length + self.cluster_size:
                break
            ident = self.image.read(offset + 40 + extra, id_length)
            found.append((ident, self.get(offset), self.get(offset + 8, 4)))
            offset = (end + 7) // 8 * 8
        self._records_end = offset
        return found

    def l2_tables(self, tree: Tree) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Indices in the L1 table, and offsets, of the L2 tables that can be read."""
        index = np.flatnonzero(tree.l1 & _MASK)
        offset = (tree.l1[index] & _MASK).astype(np.int64)
        good = (offset % self.cluster_size == 0) & (offset < self.end)
        return index[good], offset[good]

    def unreadable_tables(self, tree: Tree) -> set[int]:
        """Indices of L1 entries that lead to a table inside a cluster: every access fails."""
        offset = (tree.l1 & _MASK).astype(np.int64)
        return set(np.flatnonzero(offset % self.cluster_size).tolist())

    def entries(self, tree: Tree) -> Entries:
        """The entries of all readable L2 tables of a tree."""
        parts = []
        for index, offset in zip(*self.l2_tables(tree), strict=True):
            table = self.array(int(offset), self.cluster_size // 8).reshape(-1, self.words)
            at = np.flatnonzero(table.any(axis=1))
            bitmap = table[at, 1] if self.extended else np.zeros(len(at), np.uint64)
            place = int(offset) + at * 8 * self.words
            parts.append((int(index) * self.l2_entries + at, place, table[at, 0], bitmap))
        if not parts:
            none, zero = np.empty(0, np.int64), np.empty(0, np.uint64)
            return Entries(none, none, zero, zero)
        guest, place, value, bits = (np.concatenate(column) for column in zip(*parts, strict=True))
        return Entries(guest, place, value, bits)

    def compressed_extent(self, value: int) -> tuple[int, int]:
        """Byte offset and length of the sectors that a compressed entry covers."""
        shift = 62 - (self.cluster_bits - 8)
        offset = value & ((1 << shift) - 1)
        sectors = (value & (COMPRESSED - 1)) >> shift
        return offset, 512 * (sectors + 1) - offset % 512

    @cached_property
    def refcount_table(self) -> U64:
        """The entries of the refcount table; none where it cannot be used."""
        offset, size = self.refcount_table_place
        good = size <= MOST_REFCOUNT_TABLE and self.usable(offset) and offset + size < FARTHEST
        if self.was is not None and (offset, size) == self.was.refcount_table_place:
            good = good and offset < self.was.end
        return self.array(offset, size // 8 if good else 0)

    @property
    def refcount_table_place(self) -> tuple[int, int]:
        """Where the header says that the refcount table is, and how many bytes it has."""
        return self.get(48), self.get(56, 4) * self.cluster_size

    def blocks(self) -> list[tuple[int, int]]:
        """Index and offset of each refcount block that can be read and is about the file."""
        offsets = (self.refcount_table & ~np.uint64(0x1FF)).astype(np.int64)
        good = (offsets > 0) & (offsets % self.cluster_size == 0) & (offsets < self.end)
        if self.was is not None:
            before = self.was.refcount_table[: len(offsets)]
            same = before == self.refcount_table[: len(before)]
            good[: len(before)] &= ~(same & (offsets[: len(before)] >= self.was.end))
        per_block = self.cluster_size * 8 // self.refcount_bits
        last = self.clusters // per_block
        return [(int(at), int(offsets[at])) for at in np.flatnonzero(good[: last + 1])]

    @cached_property
    def stored(self) -> U64:
        """The stored refcount of each host cluster, one beyond the end of the file included."""
        counts = np.zeros(self.clusters + 1, np.uint64)
        per_block = self.cluster_size * 8 // self.refcount_bits
        for index, offset in self.blocks():
            first = index * per_block
            if first >= len(counts):
                break
            block = self._unpack(self.image.read(offset, self.cluster_size))
            length = min(per_block, len(counts) - first)
            counts[first : first + length] = block[:length]
        return counts

    def _unpack(self, block: bytes) -> U64:
        bits = self.refcount_bits
        if bits >= 8:
            return np.frombuffer(block, f">u{bits // 8}").astype(np.uint64)
        data = np.frombuffer(block, np.uint8)
        parts = [data >> shift & ((1 << bits) - 1) for shift in range(0, 8, bits)]
        return np.stack(parts, axis=1).reshape(-1).astype(np.uint64)

    @cached_property
    def data_references(self) -> NDArray[np.int64]:
        """How often each host cluster is named by an L2 entry that maps it."""
        counts = np.zeros(self.clusters + 1, np.int64)
        if self.data_file:
            return counts
        for tree in self.trees:
            found = self.entries(tree)
            packed = found.value & np.uint64(COMPRESSED) != 0
            host = (found.value[~packed] & _MASK).astype(np.int64)
            host = host[(host > 0) & (host + self.cluster_size - self.end < self.cluster_size)]
            np.add.at(counts, host // self.cluster_size, 1)
            inside = host[host % self.cluster_size != 0] // self.cluster_size + 1
            np.add.at(counts, inside, 1)
            for value in found.value[packed].tolist():
                self._claim(counts, *self.compressed_extent(value))
        return counts

    @cached_property
    def table_references(self) -> NDArray[np.int64]:
        """How often each host cluster is named as a header, table or bitmap, no refcount block."""
        counts = np.zeros(self.clusters + 1, np.int64)
        counts[0] = 1
        for tree in self.trees:
            self._claim(counts, tree.l1_offset, 8 * len(tree.l1))
            _, offsets = self.l2_tables(tree)
            np.add.at(counts, offsets // self.cluster_size, 1)
        if len(self.trees) > 1:
            start = self.get(64)
            self._claim(counts, start, self._records_end - start)
        self._claim(counts, self.get(48), 8 * len(self.refcount_table))
        self._claim_extensions(counts)
        return counts

    @cached_property
    def block_references(self) -> NDArray[np.int64]:
        """How often each host cluster is named as a refcount block."""
        counts = np.zeros(self.clusters + 1, np.int64)
        for _, offset in self.blocks():
            counts[offset // self.cluster_size] += 1
        return counts

    @property
    def references(self) -> NDArray[np.int64]:
        """How often each host cluster is named by anything."""
        return self.data_references + self.table_references + self.block_references

    def _claim(self, counts: NDArray[np.int64], offset: int, length: int) -> None:
        if length <= 0 or offset + length - self.end >= self.cluster_size:
            return
        first, last = offset // self.cluster_size, (offset + length - 1) // self.cluster_size
        counts[first : last + 1] += 1

    def extensions(self) -> dict[int, tuple[int, int]]:
        """Where the data of each header extension is, and how long, by type."""
        found: dict[int, tuple[int, int]] = {}
        offset = self.header_length
        end = self.get(8) or self.cluster_size
        while offset + 8 <= min(end, self.cluster_size) and self.get(offset, 4):
            length = self.get(offset + 4, 4)
            found.setdefault(self.get(offset, 4), (offset + 8, length))
            offset += 8 + (length + 7) // 8 * 8
        return found

    def _claim_extensions(self, counts: NDArray[np.int64]) -> None:
        extensions = self.extensions()
        if self.crypt_method == 2 and CRYPTO in extensions:
            data, _ = extensions[CRYPTO]
            self._claim(counts, self.get(data), self.get(data + 8))
        if self.version == 3 and self.get(88) & 1 and BITMAPS in extensions:
            data, _ = extensions[BITMAPS]
            directory, size = self.get(data + 16), self.get(data + 8)
            if self.usable(directory, size):
                self._claim(counts, directory, size)
                self._claim_bitmaps(counts, self.get(data, 4), directory, directory + size)

    def _claim_bitmaps(self, counts: NDArray[np.int64], count: int, offset: int, end: int) -> None:
        for _ in range(count):
            if offset + 24 > end:
                return
            table, size = self.get(offset), self.get(offset + 8, 4)
            if size <= 1 << 20 and self.usable(table, 8 * size):
                self._claim(counts, table, 8 * size)
                target = (self.array(table, size) & _MASK).astype(np.int64)
                good = (target % self.cluster_size == 0) & (target > 0) & (target < self.end)
                np.add.at(counts, target[good] // self.cluster_size, 1)
            length = 24 + self.get(offset + 18, 2) + self.get(offset + 20, 4)
            offset += (length + 7) // 8 * 8


def is_copied(value: int) -> bool:
    """Whether an entry carries the COPIED flag."""
    return bool(value & COPIED)
