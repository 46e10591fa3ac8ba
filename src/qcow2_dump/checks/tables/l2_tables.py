"""The distinct L2 tables of an image.

Snapshots share most of their L2 tables with each other and with the active layer: each table is
read once, and the number of L1 entries that lead to it becomes its weight.
"""

from dataclasses import dataclass, field, replace
from typing import Self

import numpy as np
from numpy.typing import NDArray

from qcow2_dump.checks.host_space import HostSpace
from qcow2_dump.checks.tables.holes import holds_data
from qcow2_dump.checks.tables.l1_slots import L1Slots
from qcow2_dump.ondisk import arrays
from qcow2_dump.storage.base import ByteSource

__all__ = ["L2Tables", "distinct_l2_tables"]

# What unaligned tables, which overlap, may cost beyond one walk over the file: entries, tables.
_MISREAD_ENTRIES = 1 << 22
_MISREAD_TABLES = 1 << 11


@dataclass(slots=True)
class L2Tables:
    """Distinct L2 tables; arrays of one length, sorted by offset.

    ``offset`` in bytes (int64). ``weight`` counts the L1 entries of all trees that lead there,
    ``active`` those of the active layer, ``own`` those at ``l1_index``, the smallest index: a
    table with more weight than that serves several guest ranges. ``misread`` marks offsets that
    are no place for a table (unaligned, or 0) but that QEMU walks nevertheless. ``walked`` is
    False for tables past the end of the file, which read as zeros, and for unaligned ones that
    are too many; ``skipped`` is the number of these. A ``hole`` of the file reads as zeros, too,
    and need not be read. ``slot_order`` and ``slot_start`` list the L1 slots of table ``t``:
    ``slot_order[slot_start[t]:slot_start[t+1]]``.

    Gathered while walking: ``used``, ``unaligned``, ``invalid`` and ``compressed`` entries
    (int64), ``next_host``, where the next data cluster would continue the last one (int64, 0 at
    first), ``empty`` for tables without any entry, and ``lowest``: no entry leads to a host cluster
    before this one (int64, 0 where that is not known).
    """

    offset: NDArray[np.int64]
    weight: NDArray[np.int64]
    active: NDArray[np.int64]
    own: NDArray[np.int64]
    l1_index: NDArray[np.int64]
    misread: NDArray[np.bool_]
    walked: NDArray[np.bool_]
    hole: NDArray[np.bool_]
    skipped: int
    slot_order: NDArray[np.int64]
    slot_start: NDArray[np.int64]
    used: NDArray[np.int64] = field(init=False)
    unaligned: NDArray[np.int64] = field(init=False)
    invalid: NDArray[np.int64] = field(init=False)
    compressed: NDArray[np.int64] = field(init=False)
    next_host: NDArray[np.int64] = field(init=False)
    lowest: NDArray[np.int64] = field(init=False)
    empty: NDArray[np.bool_] = field(init=False)

    def __post_init__(self) -> None:
        for name in ("used", "unaligned", "invalid", "compressed", "next_host", "lowest"):
            setattr(self, name, np.zeros(len(self.offset), dtype=np.int64))
        self.empty = np.ones(len(self.offset), dtype=np.bool_)

    def __len__(self) -> int:
        return len(self.offset)

    def untouched(self) -> Self:
        """The same tables, with nothing gathered."""
        return replace(self)

    def reaching(self, cluster: int) -> Self:
        """The same tables, of which only those are walked that may lead to a host cluster or to
        one before it."""
        return replace(self, walked=self.walked & (self.lowest <= cluster))

    def slots_of(self, table: int) -> NDArray[np.int64]:
        """The positions of the L1 slots that lead to a table: int64."""
        return self.slot_order[self.slot_start[table] : self.slot_start[table + 1]]

    def of_slots(self) -> NDArray[np.int64]:
        """Which table each L1 slot leads to: int64, of the length of the slots."""
        tables = np.empty(len(self.slot_order), dtype=np.int64)
        tables[self.slot_order] = np.repeat(np.arange(len(self)), np.diff(self.slot_start))
        return tables


def distinct_l2_tables(slots: L1Slots, space: HostSpace, source: ByteSource) -> L2Tables:
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
    inside = offset < space.end
    walked = _within_budget(inside, aligned, space)
    return L2Tables(
        offset=offset,
        weight=_reduce(np.add, weight, heads),
        active=_reduce(np.add, slots.active[order].astype(np.int64), heads),
        own=_reduce(np.add, np.where(at_smallest, weight, 0), heads),
        l1_index=smallest,
        misread=~aligned | (offset == 0),
        walked=walked,
        hole=~holds_data(source, offset, space.cluster_size),
        skipped=int(np.count_nonzero(inside & ~walked)),
        slot_order=order,
        slot_start=start,
    )


def _within_budget(
    inside: NDArray[np.bool_], aligned: NDArray[np.bool_], space: HostSpace
) -> NDArray[np.bool_]:
    """Tables inside the file; of unaligned ones, which may overlap, only so many."""
    walked = inside.copy()
    most = min(_MISREAD_TABLES, max(1, _MISREAD_ENTRIES * 8 // space.cluster_size))
    walked[np.flatnonzero(inside & ~aligned)[most:]] = False
    return walked


def _reduce(
    operation: np.ufunc, values: NDArray[np.int64], heads: NDArray[np.int64]
) -> NDArray[np.int64]:
    if not len(heads):
        return np.zeros(0, dtype=np.int64)
    reduced: NDArray[np.int64] = operation.reduceat(values, heads)
    return reduced
