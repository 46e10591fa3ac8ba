"""The distinct L2 tables of an image, and how to read them in bulk.

Snapshots share most of their L2 tables with each other and with the active layer: each table is
read once, and the number of L1 entries that lead to it becomes its weight.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from qcow2_dump.checks.host_space import HostSpace
from qcow2_dump.checks.l1_slots import L1Slots
from qcow2_dump.ondisk import arrays
from qcow2_dump.ondisk.geometry import Geometry
from qcow2_dump.storage.base import ByteSource

__all__ = ["L2Batch", "L2Tables", "distinct_l2_tables", "read_l2_batches"]

# Entries read at a time, 512 KiB: larger arrays are mapped and unmapped by the system at each use.
_BATCH_ENTRIES = 1 << 16

# What unaligned tables, which overlap, may cost beyond one walk over the file, in entries.
_MISREAD_BUDGET = 1 << 25


@dataclass(slots=True)
class L2Tables:
    """Distinct L2 tables; arrays of one length, sorted by offset.

    ``offset`` in bytes (int64). ``weight`` counts the L1 entries of all trees that lead there,
    ``active`` those of the active layer, ``own`` those at ``l1_index``, the smallest index: a
    table with more weight than that serves several guest ranges. ``misread`` marks offsets that
    are no place for a table (unaligned, or 0) but that QEMU walks nevertheless. ``walked`` is
    False for tables past the end of the file, which read as zeros. ``slot_order`` and
    ``slot_start`` list the L1 slots of table ``t``: ``slot_order[slot_start[t]:slot_start[t+1]]``.

    Gathered while walking: ``used``, ``unaligned``, ``invalid`` and ``compressed`` entries
    (int64), ``next_host``, where the next data cluster would continue the last one (int64, 0 at
    first), ``empty`` for tables without any entry.
    """

    offset: NDArray[np.int64]
    weight: NDArray[np.int64]
    active: NDArray[np.int64]
    own: NDArray[np.int64]
    l1_index: NDArray[np.int64]
    misread: NDArray[np.bool_]
    walked: NDArray[np.bool_]
    slot_order: NDArray[np.int64]
    slot_start: NDArray[np.int64]
    used: NDArray[np.int64] = field(init=False)
    unaligned: NDArray[np.int64] = field(init=False)
    invalid: NDArray[np.int64] = field(init=False)
    compressed: NDArray[np.int64] = field(init=False)
    next_host: NDArray[np.int64] = field(init=False)
    empty: NDArray[np.bool_] = field(init=False)

    def __post_init__(self) -> None:
        for name in ("used", "unaligned", "invalid", "compressed", "next_host"):
            setattr(self, name, np.zeros(len(self.offset), dtype=np.int64))
        self.empty = np.ones(len(self.offset), dtype=np.bool_)

    def __len__(self) -> int:
        return len(self.offset)

    def slots_of(self, table: int) -> NDArray[np.int64]:
        """The positions of the L1 slots that lead to a table: int64."""
        return self.slot_order[self.slot_start[table] : self.slot_start[table + 1]]


@dataclass(frozen=True, slots=True)
class L2Batch:
    """Some L2 tables, or the same part of them, as one array.

    ``tables`` are their positions in `L2Tables` (int64[rows]); ``entries`` is uint64[rows,
    columns] and holds the entries from ``first`` on; ``bitmaps`` likewise, None without extended
    L2 entries. Tables of one batch either have the same weights (``uniform``) or the same L1
    index. The arrays are overwritten by the next batch.
    """

    tables: NDArray[np.int64]
    first: int
    entries: NDArray[np.uint64]
    bitmaps: NDArray[np.uint64] | None
    uniform: bool


def distinct_l2_tables(slots: L1Slots, space: HostSpace) -> L2Tables:
    """Find the distinct tables that some L1 slots lead to, and weigh them."""
    offsets = arrays.l1_offsets(slots.raw).view(np.int64)
    offset, table_of_slot = np.unique(offsets, return_inverse=True)
    order = np.argsort(table_of_slot, kind="stable")
    start = np.searchsorted(table_of_slot[order], np.arange(len(offset) + 1))
    heads = start[:-1]
    l1_index = slots.l1_index[order]
    weight = slots.weight[order]
    smallest = _reduce(np.minimum, l1_index, heads)
    at_smallest = l1_index == np.repeat(smallest, np.diff(start))
    aligned = offset & (space.cluster_size - 1) == 0
    return L2Tables(
        offset=offset,
        weight=_reduce(np.add, weight, heads),
        active=_reduce(np.add, slots.active[order].astype(np.int64), heads),
        own=_reduce(np.add, np.where(at_smallest, weight, 0), heads),
        l1_index=smallest,
        misread=~aligned | (offset == 0),
        walked=_within_budget(offset, aligned, space),
        slot_order=order,
        slot_start=start,
    )


def _within_budget(
    offset: NDArray[np.int64], aligned: NDArray[np.bool_], space: HostSpace
) -> NDArray[np.bool_]:
    """Tables inside the file; of unaligned ones, which may overlap, only so many."""
    walked: NDArray[np.bool_] = offset < space.end
    most = max(1, _MISREAD_BUDGET * 8 // space.cluster_size)
    unaligned = np.flatnonzero(walked & ~aligned)
    walked[unaligned[most:]] = False
    return walked


def _reduce(
    operation: np.ufunc, values: NDArray[np.int64], heads: NDArray[np.int64]
) -> NDArray[np.int64]:
    if not len(heads):
        return np.zeros(0, dtype=np.int64)
    reduced: NDArray[np.int64] = operation.reduceat(values, heads)
    return reduced


def read_l2_batches(source: ByteSource, geometry: Geometry, tables: L2Tables) -> Iterator[L2Batch]:
    """Read all walked tables, in host order: first those alone at their L1 index, then groups.

    Raises SourceError when a table cannot be read.
    """
    reader = _BatchReader(source, geometry, tables)
    for chosen, first, end, uniform in _plan(tables, geometry):
        yield reader.read(chosen, first, end, uniform)


def _plan(
    tables: L2Tables, geometry: Geometry
) -> Iterator[tuple[NDArray[np.int64], int, int, bool]]:
    """Which tables to read together: ``(tables, first entry, end entry, uniform)``."""
    walked = np.flatnonzero(tables.walked)
    index = tables.l1_index[walked]
    order = np.argsort(index, kind="stable")
    _, start, size = np.unique(index[order], return_index=True, return_counts=True)
    alone = np.sort(walked[order[start[size == 1]]])
    columns = min(geometry.l2_entries, _BATCH_ENTRIES)
    for run in _same_weights(tables, alone, max(1, _BATCH_ENTRIES // columns)):
        for first in range(0, geometry.l2_entries, columns):
            yield run, first, first + columns, True
    groups = [walked[order[s : s + n]] for s, n in zip(start, size, strict=True) if n > 1]
    for group in sorted(groups, key=lambda group: int(group[0])):
        # Rows of one group are compared entry by entry, so all must be in the batch.
        share = max(64, 1 << ((_BATCH_ENTRIES // len(group)) | 1).bit_length() - 1)
        columns = min(geometry.l2_entries, share)
        for first in range(0, geometry.l2_entries, columns):
            yield group, first, first + columns, False


def _same_weights(
    tables: L2Tables, chosen: NDArray[np.int64], most: int
) -> Iterator[NDArray[np.int64]]:
    """Cut ascending table positions into runs of equal weights, of at most ``most`` tables."""
    if not len(chosen):
        return
    key = np.stack([tables.weight[chosen], tables.active[chosen], tables.own[chosen]])
    cuts = np.flatnonzero((key[:, 1:] != key[:, :-1]).any(axis=0)) + 1
    for run in np.split(chosen, cuts):
        for start in range(0, len(run), most):
            yield run[start : start + most]


class _BatchReader:
    """Reads batches into arrays that are made once: fresh ones cost more than the reading."""

    def __init__(self, source: ByteSource, geometry: Geometry, tables: L2Tables) -> None:
        self._source = source
        self._geometry = geometry
        self._tables = tables
        self._bytes = bytearray()
        self._decoded = np.zeros(0, dtype=np.uint64)

    def read(self, chosen: NDArray[np.int64], first: int, end: int, uniform: bool) -> L2Batch:
        """Read the entries ``first`` to ``end`` of the chosen tables."""
        width = self._geometry.l2_entry_size
        row = (end - first) * width
        needed = row * len(chosen)
        if len(self._bytes) < needed:
            self._bytes = bytearray(needed)
            self._decoded = np.zeros(needed // 8, dtype=np.uint64)
        buffer = memoryview(self._bytes)[:needed]
        offsets = (self._tables.offset[chosen] + first * width).tolist()
        for at, offset in enumerate(offsets):
            self._source.read_into(offset, buffer[at * row : (at + 1) * row])
        words = arrays.decode_u64(buffer, out=self._decoded[: needed // 8])
        if width == 8:
            return L2Batch(chosen, first, words.reshape(len(chosen), -1), None, uniform)
        pairs = words.reshape(len(chosen), -1, 2)
        return L2Batch(chosen, first, pairs[:, :, 0], pairs[:, :, 1], uniform)
