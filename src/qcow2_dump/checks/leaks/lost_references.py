"""References that the active layer has lost while a snapshot still has them.

An over-counted cluster is what a lost reference leaves where another tree refers to it as well.
QEMU never makes a mapped entry of the active layer unallocated again: in version 3 a discard leaves
a zero-plain entry, and L1 entries stay in both versions. So where the active layer has nothing,
a snapshot has a cluster, and that cluster is over-counted, an entry was wiped.
"""

import numpy as np
from numpy.typing import NDArray

from qcow2_dump.checks.facts import CheckFacts
from qcow2_dump.checks.pass_refcounts import LeakMap
from qcow2_dump.checks.tables.l2_batches import L2Batch, read_l2_batches
from qcow2_dump.ondisk import arrays
from qcow2_dump.ondisk.mapping import EntryFlag

__all__ = ["lost_by_active"]

_COMPRESSED = np.uint64(int(EntryFlag.COMPRESSED))


def lost_by_active(facts: CheckFacts, leaks: LeakMap) -> int | None:
    """The guest offset of the first range that the active layer has lost, None for none."""
    active = facts.trees[0]
    if not leaks.overcounted or len(facts.trees) < 2 or not active.usable:
        return None
    index = _lost_table(facts, leaks)
    if index is not None:
        return index * facts.image.geometry.l1_span
    if not facts.image.header.is_v3 or facts.image.header.has_data_file:
        return None
    for batch in read_l2_batches(facts.image.source, facts.image.geometry, facts.tables):
        for group in batch.groups() if batch.members > 1 else ():
            if (found := _lost_entry(facts, leaks, group)) is not None:
                return found
    return None


def _lost_table(facts: CheckFacts, leaks: LeakMap) -> int | None:
    """The first L1 index without an active table where a snapshot's table is over-counted."""
    slots = facts.slots
    offsets = arrays.l1_offsets(slots.raw)
    inside = offsets < np.uint64(facts.space.end)
    others = np.flatnonzero(inside & ~slots.active & (slots.l1_index < _active_tables(facts)))
    over = leaks.overcounted.contains(facts.cluster_indices(offsets[others]))
    lost = np.setdiff1d(slots.l1_index[others[over]], slots.l1_index[slots.active])
    return int(lost[0]) if len(lost) else None


def _active_tables(facts: CheckFacts) -> int:
    """How many L1 entries of the active layer map the disk."""
    return min(facts.trees[0].l1_size, facts.image.header.vm_state_l1_index)


def _lost_entry(facts: CheckFacts, leaks: LeakMap, batch: L2Batch) -> int | None:
    """The first guest offset of a batch that only a snapshot maps, to an over-counted cluster."""
    tables, geometry = facts.tables, facts.image.geometry
    rows = np.flatnonzero(tables.active[batch.tables])
    index = int(tables.l1_index[batch.tables[0]])
    if len(rows) != 1 or index >= _active_tables(facts):
        return None
    inside = facts.trees[0].entries_inside(index, geometry) - batch.first
    columns = np.flatnonzero(_unallocated(batch, int(rows[0]))[: max(0, inside)])
    raw = batch.entries[:, columns]
    offsets = arrays.l2_offsets(raw)
    mapped = ((raw & _COMPRESSED) == 0) & (offsets != 0) & (offsets < np.uint64(facts.space.end))
    mapped[mapped] = leaks.overcounted.contains(facts.cluster_indices(offsets[mapped]))
    lost = columns[mapped.any(axis=0)]
    if not len(lost):
        return None
    return geometry.guest_offset(index, batch.first + int(lost[0]))


def _unallocated(batch: L2Batch, row: int) -> NDArray[np.bool_]:
    """Which entries of a row hold nothing at all."""
    nothing: NDArray[np.bool_] = batch.entries[row] == 0
    return nothing if batch.bitmaps is None else nothing & (batch.bitmaps[row] == 0)
