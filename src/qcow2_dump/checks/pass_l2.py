"""The L2 tables: one walk in which everything about them is done (format section 8.4).

Counts the references of guest data, checks the COPIED flags of active entries against the stored
refcounts, and gathers the statistics. A reduction over a whole table tells whether any entry in
it is out of the ordinary; only such tables are looked at entry by entry (`l2_oddities`).
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from qcow2_dump.checks.facts import CheckFacts
from qcow2_dump.checks.mapping.fragments import count_fragments
from qcow2_dump.checks.mapping.l2_oddities import OddTables
from qcow2_dump.checks.mapping.l2_places import report_copied
from qcow2_dump.checks.mapping.merge_claims import merge_claims
from qcow2_dump.checks.tables.l2_batches import L2Batch, read_l2_batches
from qcow2_dump.ondisk import arrays
from qcow2_dump.ondisk.mapping import L2_RESERVED_MASK, EntryFlag

__all__ = ["check_l2"]

_COPIED_SHIFT = np.uint64(63)
_LOW_HALF = np.uint64(0xFFFF_FFFF)
_HALF = np.uint64(32)

# Entries judged one by one at a time; each takes some forty bytes meanwhile.
_ODD_ENTRIES = 1 << 16

# L1 entries that may be compared with the size of a disk; overlapping L1 tables have no end.
_LIMIT_BUDGET = 1 << 26


def check_l2(facts: CheckFacts) -> Iterator[int]:
    """Walk every distinct L2 table once. Yields the bytes read so far."""
    walk = _Walk(facts)
    done = 0
    for batch in read_l2_batches(facts.image.source, facts.image.geometry, facts.tables):
        walk.take(batch)
        done += batch.entries.size * facts.image.geometry.l2_entry_size
        yield done


class _Walk:
    """What stays the same from batch to batch."""

    def __init__(self, facts: CheckFacts) -> None:
        self._facts = facts
        self._end = np.uint64(facts.space.end)
        unaligned = facts.space.cluster_size - 1 & ~511
        odd = L2_RESERVED_MASK | EntryFlag.ZERO | EntryFlag.COMPRESSED | unaligned
        self._odd_bits = np.uint64(int(odd))
        self._data_file = facts.image.header.has_data_file
        facts.inside = _inside_limits(facts)

    def take(self, batch: L2Batch) -> None:
        """Do all that is to be done with a batch."""
        facts, tables = self._facts, self._facts.tables
        bits = np.bitwise_or.reduce(batch.entries, axis=1)
        filled = bits != 0
        if batch.bitmaps is not None:
            filled |= batch.bitmaps.any(axis=1)
        if not filled.any():
            return
        tables.empty[batch.tables[filled]] = False
        mapped = arrays.l2_offsets(batch.entries)
        odd = self._odd_rows(batch, mapped, bits)
        plain = mapped
        if odd.any():
            plain = mapped.copy()
            rows = np.flatnonzero(odd & filled)
            step = max(1, _ODD_ENTRIES // batch.entries.shape[1])
            for start in range(0, len(rows), step):
                OddTables(facts, batch, rows[start : start + step]).examine(mapped, plain)
        regular = ~odd
        tables.used[batch.tables[regular]] += np.count_nonzero(mapped[regular], axis=1)
        self._claim(batch, plain)
        if not facts.only_counting:
            self._check_active(batch, mapped)

    def _odd_rows(
        self, batch: L2Batch, mapped: NDArray[np.uint64], bits: NDArray[np.uint64]
    ) -> NDArray[np.bool_]:
        """Which tables hold anything but unallocated and plain allocated entries: bool[rows]."""
        if self._data_file:
            return np.ones(len(batch.tables), dtype=np.bool_)
        odd: NDArray[np.bool_] = (bits & self._odd_bits) != 0
        odd |= mapped.max(axis=1) >= self._end
        odd |= np.count_nonzero(mapped, axis=1) != np.count_nonzero(batch.entries, axis=1)
        odd |= self._facts.tables.misread[batch.tables]
        if batch.bitmaps is not None:
            odd |= ((batch.bitmaps >> _HALF) & batch.bitmaps).any(axis=1)
            odd |= ((mapped == 0) & ((batch.bitmaps & _LOW_HALF) != 0)).any(axis=1)
        inside = self._facts.inside[batch.tables] - batch.first
        crossing = np.flatnonzero(inside < mapped.shape[1])
        outside = np.arange(mapped.shape[1]) >= inside[crossing, np.newaxis]
        odd[crossing] |= (outside & (batch.entries[crossing] != 0)).any(axis=1)
        return odd

    def _claim(self, batch: L2Batch, plain: NDArray[np.uint64]) -> None:
        """Count the claims of plain entries; a table with several rows shares its index."""
        facts, tables = self._facts, self._facts.tables
        if self._data_file:
            return  # guest data lies elsewhere, and nobody counts it
        weights, owns = tables.weight[batch.tables], tables.own[batch.tables]
        uniform = weights.min() == weights.max() and owns.min() == owns.max()
        if batch.members == 1 and uniform:
            held = _held(plain)
            if len(held):
                facts.last_data = max(facts.last_data, int(held.max()))
                indices = facts.cluster_indices(held)
                facts.references.claim(indices, int(weights[0]), int(owns[0]))
            return
        # The tables of one L1 index above each other, the L1 indices side by side.
        columns = plain.shape[1]
        stacked = plain.reshape(-1, batch.members, columns).swapaxes(0, 1)
        held, weight, own = merge_claims(
            stacked.reshape(batch.members, -1),
            weights.reshape(-1, batch.members).T,
            owns.reshape(-1, batch.members).T,
        )
        if len(held):
            facts.last_data = max(facts.last_data, int(held.max()))
            facts.references.claim_each(facts.cluster_indices(held), weight, own)

    def _check_active(self, batch: L2Batch, mapped: NDArray[np.uint64]) -> None:
        """Statistics and COPIED flags, which only mean something in the active layer."""
        tables = self._facts.tables
        rows = np.flatnonzero(tables.active[batch.tables])
        if not len(rows):
            return
        if len(rows) < len(batch.tables):
            mapped = mapped[rows]
        count_fragments(self._facts, batch.tables[rows], mapped)
        if self._data_file:
            return  # judged with the odd tables: a data cluster counts as used exactly once
        chosen = np.flatnonzero(mapped.reshape(-1))
        clusters = self._facts.cluster_indices(mapped.reshape(-1)[chosen])
        raw = batch.entries if len(rows) == len(batch.tables) else batch.entries[rows]
        copied = (raw.reshape(-1)[chosen] >> _COPIED_SHIFT).astype(np.bool_)
        wrong = self._facts.stored.is_one(clusters) != copied
        if wrong.any():
            width = mapped.shape[1]
            row, column = np.divmod(chosen[wrong], width)
            report_copied(self._facts, batch, rows[row], column, clusters[wrong])


def _held(offsets: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The offsets that are not 0, flat; without a copy when none is."""
    flat = offsets.reshape(-1)
    return flat if flat.all() else flat[flat != 0]


def _inside_limits(facts: CheckFacts) -> NDArray[np.int64]:
    """How many entries of each table lie inside the virtual disk of some tree: int64[tables]."""
    tables, geometry = facts.tables, facts.image.geometry
    inside = np.zeros(len(tables), dtype=np.int64)
    table_of_slot = np.zeros(len(facts.slots), dtype=np.int64)
    table_of_slot[tables.slot_order] = np.repeat(np.arange(len(tables)), np.diff(tables.slot_start))
    budget = _LIMIT_BUDGET
    distinct = {
        (tree.l1_offset, tree.l1_size, tree.disk_size, tree.holds_vm_state): tree
        for tree in facts.trees
        if tree.usable
    }
    for tree in distinct.values():
        chosen = facts.slots.of_tree(tree)
        budget -= chosen.stop - chosen.start
        if budget < 0:
            # Overlapping L1 tables of a hostile image: call nothing outside.
            inside[:] = geometry.l2_entries
            break
        index = (facts.slots.place[chosen] - tree.l1_offset) >> 3
        last = tree.disk_size // geometry.l1_span
        limits = np.where(
            index < last, geometry.l2_entries, tree.entries_inside(last + 1, geometry)
        )
        limits[index == last] = tree.entries_inside(last, geometry)
        np.maximum.at(inside, table_of_slot[chosen], limits)
    return inside
