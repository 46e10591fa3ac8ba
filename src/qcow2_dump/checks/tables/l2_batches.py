"""L2 tables read in bulk: many small ones together, large ones in parts."""

import itertools
from collections.abc import Iterable, Iterator
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

# Of tables that belong side by side, so many are read before they are sorted into batches: those
# of one tree often follow each other in the file, and one large read is worth many small ones.
_GATHERED_ENTRIES = 3 << 17

# Readings that the system is told of before they are made: disks and networks like a queue.
_READINGS_AHEAD = 8

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
    """Read all walked tables that hold data: those alone at their L1 index, then the others.

    The first in host order; of the others many of neighbouring L1 indices at once. Raises
    SourceError when a table cannot be read.
    """
    reader = _BatchReader(source, geometry, tables)
    announced: list[_Reading] = []
    readings = _readings(geometry, tables)
    while soon := list(itertools.islice(readings, _READINGS_AHEAD)):
        reader.will_need(soon)
        yield from itertools.chain.from_iterable(map(reader.read, announced))
        announced = soon
    yield from itertools.chain.from_iterable(map(reader.read, announced))


class _Part(NamedTuple):
    """What one batch holds: the entries ``first`` to ``end`` of some tables."""

    chosen: NDArray[np.int64]
    first: int
    end: int
    members: int


_Reading = list[_Part]
"""Batches whose tables are read at once, all of them or the same entries of each."""


def _readings(geometry: Geometry, tables: L2Tables) -> Iterator[_Reading]:
    """What is read at once, in order."""
    groups = _Groups.of(tables)
    alone = groups.some(groups.sizes == 1)
    for part in _parts(geometry, 1, np.sort(alone.tables())):
        yield [part]
    is_large = groups.sizes * geometry.l2_entries > _BATCH_ENTRIES
    for members, chosen in groups.some((groups.sizes > 1) & is_large).by_size():
        for part in _parts(geometry, members, chosen):
            yield [part]
    # One tree has the tables of neighbouring L1 indices side by side: all trees of some indices
    # are read before those of the next ones.
    small = groups.some((groups.sizes > 1) & ~is_large)
    room = max(1, _GATHERED_ENTRIES // geometry.l2_entries)
    window = (np.cumsum(small.sizes) - 1) // room
    bounds = np.flatnonzero(np.diff(window, prepend=-1, append=-1)).tolist()
    for start, end in itertools.pairwise(bounds):
        by_size = small.some(slice(start, end)).by_size()
        yield [part for members, chosen in by_size for part in _parts(geometry, members, chosen)]


def _parts(geometry: Geometry, members: int, chosen: NDArray[np.int64]) -> Iterator[_Part]:
    """The batches of some tables, of which so many at a time belong to one L1 index."""
    # Rows of one group are compared entry by entry, so all must be in the batch.
    columns = max(_FEWEST_COLUMNS, _power_of_two(_BATCH_ENTRIES // members))
    columns = min(geometry.l2_entries, columns)
    step = max(1, _BATCH_ENTRIES // (members * columns)) * members
    for start in range(0, len(chosen), step):
        for first in range(0, geometry.l2_entries, columns):
            yield _Part(chosen[start : start + step], first, first + columns, members)


class _Groups(NamedTuple):
    """The tables to read, those of one L1 index side by side, in the order of these.

    ``chosen`` are the tables (int64), ``heads`` where a group begins among them and ``sizes`` how
    many it has (int64[groups]).
    """

    chosen: NDArray[np.int64]
    heads: NDArray[np.int64]
    sizes: NDArray[np.int64]

    @classmethod
    def of(cls, tables: L2Tables) -> "_Groups":
        """All that are worth reading."""
        chosen = np.flatnonzero(tables.walked & (~tables.hole | (tables.active != 0)))
        chosen = chosen[np.argsort(tables.l1_index[chosen], kind="stable")]
        chosen = chosen[_worth_reading(tables, chosen, _heads(tables.l1_index[chosen]))]
        heads = _heads(tables.l1_index[chosen])
        return cls(chosen, heads, np.diff(np.append(heads, len(chosen))))

    def some(self, which: NDArray[np.bool_] | slice) -> "_Groups":
        """Some of the groups."""
        return _Groups(self.chosen, self.heads[which], self.sizes[which])

    def tables(self) -> NDArray[np.int64]:
        """The tables of groups that are of one size, group by group."""
        size = int(self.sizes.max(initial=1))
        places = self.heads[:, np.newaxis] + np.arange(size)
        tables: NDArray[np.int64] = self.chosen[places.reshape(-1)]
        return tables

    def by_size(self) -> Iterator[tuple[int, NDArray[np.int64]]]:
        """Each size, and the tables of the groups that have it."""
        for members in arrays.distinct(self.sizes).tolist():
            yield members, self.some(self.sizes == members).tables()


def _heads(index: NDArray[np.int64]) -> NDArray[np.int64]:
    """Where groups of equal, ascending L1 indices begin: int64."""
    return np.flatnonzero(np.diff(index, prepend=-1))


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

    def will_need(self, readings: Iterable[_Reading]) -> None:
        """Say that some tables are read soon, in the order of the file."""
        by_length: dict[int, list[NDArray[np.int64]]] = {}
        for parts in readings:
            by_length.setdefault(self._length(parts), []).append(self._offsets(parts))
        for length, offsets in by_length.items():
            self._source.will_need(np.sort(np.concatenate(offsets)).tolist(), length)

    def _length(self, parts: _Reading) -> int:
        """The bytes read of each table."""
        return (parts[0].end - parts[0].first) * self._geometry.l2_entry_size

    def _offsets(self, parts: _Reading) -> NDArray[np.int64]:
        """Where these bytes lie in the file, table after table: int64."""
        chosen = np.concatenate([part.chosen for part in parts])
        offsets: NDArray[np.int64] = self._tables.offset[chosen]
        return offsets + parts[0].first * self._geometry.l2_entry_size

    def read(self, parts: _Reading) -> Iterator[L2Batch]:
        """Read some batches at once, in the order of the file; each overwrites the one before."""
        offsets, length = self._offsets(parts), self._length(parts)
        if len(self._bytes) < len(offsets) * length:
            self._bytes = bytearray(len(offsets) * length)
        buffer = memoryview(self._bytes)[: len(offsets) * length]
        order = np.argsort(offsets, kind="stable")
        self._source.read_rows(offsets[order].tolist(), buffer)
        stored = np.frombuffer(buffer, dtype=np.uint64).reshape(len(offsets), length // 8)
        place = np.empty_like(order)
        place[order] = np.arange(len(order))
        behind = 0
        for part in parts:
            start, behind = behind, behind + len(part.chosen)
            yield self._decode(part, stored, place[start:behind])

    def _decode(self, part: _Part, stored: NDArray[np.uint64], rows: NDArray[np.int64]) -> L2Batch:
        """A batch of some rows of words as they lie in the file: uint64[tables, words]."""
        needed = len(rows) * stored.shape[1]
        if len(self._decoded) < needed:
            self._decoded = np.zeros(needed, dtype=np.uint64)
        words = self._decoded[:needed].reshape(len(rows), -1)
        if (np.diff(rows) == 1).all():
            found = stored[rows[0] : rows[-1] + 1]
        else:
            # "clip" checks nothing, and copies at once.
            found = np.take(stored, rows, axis=0, out=words, mode="clip")
        arrays.decode_u64(found.view(np.uint8).reshape(-1), out=self._decoded[:needed])
        if not self._geometry.extended_l2:
            return L2Batch(part.chosen, part.first, words, None, part.members)
        return L2Batch(part.chosen, part.first, words[:, ::2], words[:, 1::2], part.members)
