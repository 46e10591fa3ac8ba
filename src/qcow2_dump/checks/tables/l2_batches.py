"""L2 tables read in bulk: many small ones together, large ones in parts."""

import itertools
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from qcow2_dump.checks.tables.l2_tables import L2Tables
from qcow2_dump.ondisk import arrays
from qcow2_dump.ondisk.geometry import Geometry
from qcow2_dump.storage.base import ByteSource

__all__ = ["L2Batch", "read_l2_batches"]

# Entries read at a time, 1 MiB: enough to hide what a call costs, little enough for the cache.
_BATCH_ENTRIES = 1 << 17

# Batches that the system is told of before they are read: disks and networks like a queue.
_PARTS_AHEAD = 8

# Even of thousands of tables that must be read side by side, so many entries each.
_FEWEST_COLUMNS = 64


class L2Batch(NamedTuple):
    """Some L2 tables, or the same part of them, as one array.

    ``tables`` are their positions in `L2Tables` (int64[rows]); ``entries`` is uint64[rows,
    columns] and holds the entries from ``first`` on; ``bitmaps`` likewise, None without extended
    L2 entries. Each ``members`` rows that follow each other are all the tables of one L1 index
    that hold data. The arrays are overwritten by the next batch.
    """

    tables: NDArray[np.int64]
    first: int
    entries: NDArray[np.uint64]
    bitmaps: NDArray[np.uint64] | None
    members: int

    def groups(self) -> Iterator["L2Batch"]:
        """The tables of each L1 index as a batch of their own."""
        for start in range(0, len(self.tables), self.members):
            rows = slice(start, start + self.members)
            bitmaps = None if self.bitmaps is None else self.bitmaps[rows]
            yield L2Batch(self.tables[rows], self.first, self.entries[rows], bitmaps, self.members)


def read_l2_batches(source: ByteSource, geometry: Geometry, tables: L2Tables) -> Iterator[L2Batch]:
    """Read all walked tables that hold data: those alone at their L1 index, then pairs, and so on.

    Raises SourceError when a table cannot be read.
    """
    reader = _BatchReader(source, geometry, tables)
    announced: list[_Part] = []
    parts = _parts(geometry, tables)
    while soon := list(itertools.islice(parts, _PARTS_AHEAD)):
        reader.will_need(soon)
        yield from map(reader.read, announced)
        announced = soon
    yield from map(reader.read, announced)


class _Part(NamedTuple):
    """What one batch holds: the entries ``first`` to ``end`` of some tables."""

    chosen: NDArray[np.int64]
    first: int
    end: int
    members: int


def _parts(geometry: Geometry, tables: L2Tables) -> Iterator[_Part]:
    """What each batch holds, in the order of reading."""
    for members, chosen in _groups_by_size(tables):
        # Rows of one group are compared entry by entry, so all must be in the batch.
        columns = max(_FEWEST_COLUMNS, _power_of_two(_BATCH_ENTRIES // members))
        columns = min(geometry.l2_entries, columns)
        step = max(1, _BATCH_ENTRIES // (members * columns)) * members
        for start in range(0, len(chosen), step):
            for first in range(0, geometry.l2_entries, columns):
                yield _Part(chosen[start : start + step], first, first + columns, members)


def _groups_by_size(tables: L2Tables) -> Iterator[tuple[int, NDArray[np.int64]]]:
    """The tables to read, those of one L1 index side by side: ``(size of the groups, tables)``."""
    chosen = np.flatnonzero(tables.walked & (~tables.hole | (tables.active != 0)))
    order = np.argsort(tables.l1_index[chosen], kind="stable")
    chosen = chosen[order]
    index = tables.l1_index[chosen]
    heads = np.flatnonzero(np.append(True, index[1:] != index[:-1])) if len(index) else index
    chosen = chosen[_worth_reading(tables, chosen, heads)]
    index = tables.l1_index[chosen]
    if not len(index):
        return
    heads = np.flatnonzero(np.append(True, index[1:] != index[:-1]))
    sizes = np.diff(np.append(heads, len(index)))
    host_order = np.argsort(chosen[heads], kind="stable")
    for members in arrays.distinct(sizes).tolist():
        starts = heads[host_order][sizes[host_order] == members]
        yield members, chosen[(starts[:, np.newaxis] + np.arange(members)).reshape(-1)]


def _worth_reading(
    tables: L2Tables, chosen: NDArray[np.int64], heads: NDArray[np.int64]
) -> NDArray[np.bool_]:
    """Leave out the holes, but for the active table where some snapshot's table holds data.

    What the active layer lost shows only beside what a snapshot still has.
    """
    held = ~tables.hole[chosen]
    if held.all() or not len(chosen):
        return held
    sizes = np.diff(np.append(heads, len(chosen)))
    filled = np.add.reduceat(held.astype(np.int64), heads) > 0
    active = np.add.reduceat((tables.active[chosen] != 0).astype(np.int64), heads) == 1
    kept: NDArray[np.bool_] = held | np.repeat(filled & active, sizes)
    return kept


def _power_of_two(number: int) -> int:
    """The largest power of two that is not greater than a number, at least 1."""
    return 1 << max(0, number.bit_length() - 1)


class _BatchReader:
    """Reads batches into arrays that are made once: fresh ones cost more than the reading."""

    def __init__(self, source: ByteSource, geometry: Geometry, tables: L2Tables) -> None:
        self._source = source
        self._geometry = geometry
        self._tables = tables
        self._bytes = bytearray()
        self._decoded = np.zeros(0, dtype=np.uint64)

    def will_need(self, parts: Sequence[_Part]) -> None:
        """Say that some batches are read soon.

        In the order of the file: the tables of one L1 index lie far apart, but beside those of the
        next index, so that the system can read many at once.
        """
        by_length: dict[int, list[int]] = {}
        for part in parts:
            length = (part.end - part.first) * self._geometry.l2_entry_size
            by_length.setdefault(length, []).extend(self._offsets(part))
        for length, offsets in by_length.items():
            self._source.will_need(sorted(offsets), length)

    def _offsets(self, part: _Part) -> list[int]:
        offsets: list[int] = (
            self._tables.offset[part.chosen] + part.first * self._geometry.l2_entry_size
        ).tolist()
        return offsets

    def read(self, part: _Part) -> L2Batch:
        """Read a batch; it is overwritten by the next one."""
        chosen, first, end, members = part
        width = self._geometry.l2_entry_size
        needed = (end - first) * width * len(chosen)
        if len(self._bytes) < needed:
            self._bytes = bytearray(needed)
            self._decoded = np.zeros(needed // 8, dtype=np.uint64)
        buffer = memoryview(self._bytes)[:needed]
        self._source.read_rows(self._offsets(part), buffer)
        words = arrays.decode_u64(buffer, out=self._decoded[: needed // 8])
        if width == 8:
            return L2Batch(chosen, first, words.reshape(len(chosen), -1), None, members)
        pairs = words.reshape(len(chosen), -1, 2)
        return L2Batch(chosen, first, pairs[:, :, 0], pairs[:, :, 1], members)
