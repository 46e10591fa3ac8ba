"""An independent recount of an image's mapping and refcount tables, damaged or not.

Plain integers, entry by entry, straight from the format description; nothing is shared with the
package under test.
"""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

OFFSET = 0x00FF_FFFF_FFFF_FE00
COPIED = 1 << 63
COMPRESSED = 1 << 62
FARTHEST = 0x7FFF_FFFF_C000_0000
MOST_L1 = 4_194_304
MOST_SNAPSHOTS = 1000
MOST_SNAPSHOT_TABLE = 64 << 20


class NotCountable(Exception):  # noqa: N818 - no error: the image is beyond plain Python
    """The image says that it has more than can be looked through entry by entry."""


@dataclass(frozen=True)
class Entry:
    """One L1 or L2 entry that is not zero: where it is, what it says, what it is counted as."""

    tree: int | None
    l1_index: int
    l2_index: int | None
    place: int
    raw: int
    bitmap: int
    type: str
    state: str
    host: int
    guest: int


@dataclass(frozen=True)
class Tree:
    """An L1 table; `index` is the snapshot's position, None for the active layer."""

    index: int | None
    l1_offset: int
    l1_size: int


class Recount:
    """The tables of the image at `path`. Counters hold entries by state."""

    def __init__(self, path: Path) -> None:
        with path.open("rb") as file:
            self._file = file
            self.length = file.seek(0, 2)
            self.end = -(-self.length // 512) * 512
            self._read_header()
            self.trees = list(self._read_trees())
            self.l1: dict[int | None, Counter[str]] = {}
            self.l2: dict[int | None, Counter[str]] = {}
            self.tables: dict[tuple[int | None, int], Counter[str]] = {}
            self.entries: list[Entry] = []
            for tree in self.trees:
                self._read_tree(tree)
            self._read_refcount_table()

    def _read(self, offset: int, length: int) -> bytes:
        if offset >= self.length:
            return bytes(length)
        self._file.seek(offset)
        return self._file.read(length).ljust(length, b"\0")

    def _get(self, offset: int, width: int = 8) -> int:
        return int.from_bytes(self._read(offset, width), "big")

    def _words(self, offset: int, count: int) -> tuple[int, ...]:
        return struct.unpack(f">{count}Q", self._read(offset, 8 * count))

    def _read_header(self) -> None:
        self.v3 = self._get(4, 4) >= 3
        self.bits = self._get(20, 4)
        self.size = 1 << self.bits
        self.virtual = self._get(24)
        features = self._get(72) if self.v3 else 0
        self.data_file = bool(features & 4)
        self.extended = bool(features & 16)
        self.width = 16 if self.extended else 8
        self.per_table = self.size // self.width
        self.refcount_bits = 1 << self._get(96, 4) if self.v3 else 16
        self.per_block = self.size * 8 // self.refcount_bits
        self.rt_offset = self._get(48)
        self.rt_entries = self._get(56, 4) * self.size // 8
        self.clusters = -(-self.end // self.size)

    def _read_trees(self) -> Iterator[Tree]:
        yield Tree(None, self._get(40), self._get(36, 4))
        offset, count = self._get(64), self._get(60, 4)
        if offset % self.size or offset > FARTHEST:
            return
        if count > MOST_SNAPSHOTS:
            raise NotCountable(f"{count} snapshots")
        start = offset
        for index in range(count):
            length = 40 + self._get(offset + 36, 4)
            length += self._get(offset + 12, 2) + self._get(offset + 14, 2)
            if offset + length - start > MOST_SNAPSHOT_TABLE:
                return
            yield Tree(index, self._get(offset), self._get(offset + 8, 4))
            offset += (length + 7) // 8 * 8

    def _read_tree(self, tree: Tree) -> None:
        l1 = self.l1[tree.index] = Counter()
        l2 = self.l2[tree.index] = Counter()
        usable = tree.l1_offset % self.size == 0 and tree.l1_size <= MOST_L1
        if not usable or tree.l1_offset + 8 * tree.l1_size > FARTHEST:
            return
        for index, raw in enumerate(self._words(tree.l1_offset, tree.l1_size)):
            state = self._l1_state(raw)
            l1[state] += 1
            if raw:
                place = tree.l1_offset + 8 * index
                guest = index * self.per_table * self.size
                host = raw & OFFSET
                self.entries.append(
                    Entry(tree.index, index, None, place, raw, 0, "", state, host, guest)
                )
            if state == "used":
                table = Counter(self._read_table(tree.index, index, raw & OFFSET))
                self.tables[tree.index, index] = table
                l2.update(table)

    def _l1_state(self, raw: int) -> str:
        offset = raw & OFFSET
        if offset % self.size:
            return "unaligned"
        if offset >= self.end:
            return "invalid"
        return "used" if offset else "unused"

    def _read_table(self, tree: int | None, l1_index: int, table: int) -> Iterator[str]:
        words = self._words(table, self.size // 8)
        for index in range(self.per_table):
            raw = words[index * self.width // 8]
            bitmap = words[index * 2 + 1] if self.extended else 0
            kind = self._type(raw)
            host, state = self._place(raw, kind)
            if kind == "compressed" and state == "used":
                yield "compressed"
            yield state
            if raw or bitmap:
                guest = (l1_index * self.per_table + index) * self.size
                place = table + index * self.width
                self.entries.append(
                    Entry(tree, l1_index, index, place, raw, bitmap, kind, state, host, guest)
                )

    def _type(self, raw: int) -> str:
        if raw & COMPRESSED:
            return "compressed"
        if raw & 1 and not self.extended:
            return "zero-allocated" if raw & OFFSET else "zero-plain"
        if raw & OFFSET or (self.data_file and raw & COPIED):
            return "normal"
        return "unallocated"

    def _place(self, raw: int, kind: str) -> tuple[int, str]:
        """Host offset and state."""
        if kind in ("unallocated", "zero-plain"):
            return 0, "unused"
        if kind == "compressed":
            shift = 62 - (self.bits - 8)
            host = raw & ((1 << shift) - 1)
            length = 512 * (((raw & (COMPRESSED - 1)) >> shift) + 1) - host % 512
        else:
            host, length = raw & OFFSET, self.size
        if not self.data_file and host + length - self.end >= self.size:
            return host, "invalid"
        if kind != "compressed" and host % self.size:
            return host, "unaligned"
        return host, "used"

    def _read_refcount_table(self) -> None:
        usable = self.rt_offset % self.size == 0 and self.rt_entries * 8 <= 8 << 20
        usable = usable and self.rt_offset + 8 * self.rt_entries <= FARTHEST
        self.blocks = self._words(self.rt_offset, self.rt_entries) if usable else ()
        self.stored: dict[int, int] = {}
        limit = max(self.clusters + 1, -(-self.virtual // self.size))
        for index, raw in enumerate(self.blocks):
            offset = raw & ~0x1FF
            if not offset or offset % self.size or index * self.per_block >= limit:
                continue
            data = self._read(offset, self.size)
            mask = (1 << self.refcount_bits) - 1
            for within in range(min(self.per_block, limit - index * self.per_block)):
                if self.refcount_bits < 8:
                    count = data[within * self.refcount_bits // 8]
                    count = count >> (within * self.refcount_bits % 8) & mask
                else:
                    width = self.refcount_bits // 8
                    count = int.from_bytes(data[within * width : (within + 1) * width], "big")
                self.stored[index * self.per_block + within] = count
