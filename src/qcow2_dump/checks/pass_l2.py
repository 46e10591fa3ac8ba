"""The L2 tables: one walk in which everything about them is done (format section 8.4).

Counts the references of guest data, checks the COPIED flags of active entries against the stored
refcounts, and gathers the statistics. Tables that map long runs of clusters are judged run by run
(`regular_tables`). Of the others, a reduction over the whole table tells whether any entry in it
is out of the ordinary; only such tables are looked at entry by entry (`l2_oddities`).
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from qcow2_dump.checks.facts import CheckFacts
from qcow2_dump.checks.mapping.fragments import count_fragments
from qcow2_dump.checks.mapping.held_entries import HeldEntries, count_held
from qcow2_dump.checks.mapping.l2_oddities import OddTables
from qcow2_dump.checks.mapping.l2_places import report_copied
from qcow2_dump.checks.mapping.merge_claims import merge_claims
from qcow2_dump.checks.mapping.regular_tables import RegularTables
from qcow2_dump.checks.tables.l2_batches import L2Batch, read_l2_batches
from qcow2_dump.ondisk import arrays
from qcow2_dump.ondisk.mapping import L2_RESERVED_MASK, EntryFlag

__all__ = ["check_l2"]

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
        self._regular = RegularTables(facts, self._odd_bits)
        facts.inside = _inside_limits(facts)

    def take(self, batch: L2Batch) -> None:
        """Do all that is to be done with a batch."""
        if self._regular.take(batch):
            return
        facts, tables = self._facts, self._facts.tables
        tables.lowest[batch.tables] = 0
        bits = np.bitwise_or.reduce(batch.entries, axis=1)
        filled = bits != 0
        if batch.bitmaps is not None:
            filled |= batch.bitmaps.any(axis=1)
        if not filled.any():
            return
        tables.empty[batch.tables[filled]] = False
        mapped = arrays.l2_offsets(batch.entries)
        used = count_held(mapped)
        odd = self._odd_rows(batch, mapped, used, bits)
        regular = ~odd
        tables.used[batch.tables[regular]] += used[regular]
        plain = mapped
        if odd.any():
            plain = mapped.copy()
            rows = np.flatnonzero(odd & filled)
            step = max(1, _ODD_ENTRIES // batch.entries.shape[1])
            for start in range(0, len(rows), step):
                OddTables(facts, batch, rows[start : start + step]).examine(mapped, plain)
            used = count_held(mapped)
        held = self._claim(batch, plain, used if plain is mapped else count_held(plain))
        if not facts.only_counting:
            self._check_active(batch, mapped, used, held if plain is mapped else None)

    def _held(self, offsets: NDArray[np.uint64], counts: NDArray[np.int64]) -> HeldEntries:
        return HeldEntries.of(offsets, counts, self._facts.space.cluster_bits)

    def _odd_rows(
        self,
        batch: L2Batch,
        mapped: NDArray[np.uint64],
        used: NDArray[np.int64],
        bits: NDArray[np.uint64],
    ) -> NDArray[np.bool_]:
        """Which tables hold anything but unallocated and plain allocated entries: bool[rows]."""
        if self._data_file:
            return np.ones(len(batch.tables), dtype=np.bool_)
        odd: NDArray[np.bool_] = (bits & self._odd_bits) != 0
        odd |= mapped.max(axis=1) >= self._end
        partial = np.flatnonzero(used < mapped.shape[1])
        odd[partial] |= used[partial] != count_held(batch.entries[partial])
        odd |= self._facts.tables.misread[batch.tables]
        if batch.bitmaps is not None:
            odd |= ((batch.bitmaps >> _HALF) & batch.bitmaps).any(axis=1)
            odd |= ((mapped == 0) & ((batch.bitmaps & _LOW_HALF) != 0)).any(axis=1)
        inside = self._facts.inside[batch.tables] - batch.first
        crossing = np.flatnonzero(inside < mapped.shape[1])
        outside = np.arange(mapped.shape[1]) >= inside[crossing, np.newaxis]
        odd[crossing] |= (outside & (batch.entries[crossing] != 0)).any(axis=1)
        return odd

    def _claim(
        self, batch: L2Batch, plain: NDArray[np.uint64], counts: NDArray[np.int64]
    ) -> HeldEntries | None:
        """Count the claims of plain entries, of which there are so many in each row.

        Returns those of the first table of each group, unless the tables of a group differ.
        """
        facts, tables = self._facts, self._facts.tables
        if self._data_file:
            return None  # guest data lies elsewhere, and nobody counts it
        weights = tables.weight[batch.tables].reshape(-1, batch.members)
        owns = tables.own[batch.tables].reshape(-1, batch.members)
        groups = plain.reshape(-1, batch.members, plain.shape[1])
        if batch.members == 1 or (groups[:, 1:] == groups[:, :1]).all():
            held = self._held(groups[:, 0], counts[:: batch.members])
            self._claim_alike(held, weights.sum(axis=1), owns.sum(axis=1))
            return held
        # The tables of one L1 index above each other, the L1 indices side by side.
        stacked = groups.swapaxes(0, 1).reshape(batch.members, -1)
        offsets, weight, own = merge_claims(stacked, weights.T, owns.T)
        if len(offsets):
            facts.last_data = max(facts.last_data, int(offsets.max()))
            facts.references.claim_each(facts.cluster_indices(offsets), weight, own)
        return None

    def _claim_alike(
        self, held: HeldEntries, weights: NDArray[np.int64], owns: NDArray[np.int64]
    ) -> None:
        """Count the claims of tables that are alone, or equal to all others of their group."""
        facts = self._facts
        if not len(held.offsets):
            return
        facts.last_data = max(facts.last_data, int(held.offsets.max()))
        if weights.min() == weights.max() and owns.min() == owns.max():
            facts.references.claim(held.clusters, int(weights[0]), int(owns[0]))
            return
        weight, own = np.repeat(weights, held.counts), np.repeat(owns, held.counts)
        facts.references.claim_each(held.clusters, weight, own)

    def _check_active(
        self,
        batch: L2Batch,
        mapped: NDArray[np.uint64],
        used: NDArray[np.int64],
        held: HeldEntries | None,
    ) -> None:
        """Statistics and COPIED flags, which only mean something in the active layer."""
        facts = self._facts
        rows = np.flatnonzero(facts.tables.active[batch.tables])
        if not len(rows):
            return
        groups = len(batch.tables) // batch.members
        if (
            held is None
            or len(rows) != groups
            or (rows // batch.members != np.arange(groups)).any()
        ):
            held = self._held(mapped[rows], used[rows])
        raw = batch.entries if len(rows) == len(batch.tables) else batch.entries[rows]
        start = held.offsets.view(np.int64)
        end = start + facts.space.cluster_size
        count_fragments(facts, batch.tables[rows], held.counts, start, end)
        if self._data_file:
            return  # judged with the odd tables: a data cluster counts as used exactly once
        copied = held.same_of(raw).view(np.int64) < 0
        wrong = np.flatnonzero(facts.stored.is_one(held.clusters) != copied)
        if len(wrong):
            row, column = np.divmod(held.places(wrong), mapped.shape[1])
            report_copied(facts, batch, rows[row], column, held.clusters[wrong])


def _inside_limits(facts: CheckFacts) -> NDArray[np.int64]:
    """How many entries of each table lie inside the virtual disk of some tree: int64[tables]."""
    tables, geometry = facts.tables, facts.image.geometry
    inside = np.zeros(len(tables), dtype=np.int64)
    table_of_slot = tables.of_slots()
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
