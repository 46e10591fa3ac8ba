"""Entries that lead nowhere made unallocated: `repair --drop-unusable` (repair rules, section 3).

An entry is unusable when its offset lies between two clusters though it holds data, or past the
end of the file (format section 8.2). It is the only trace of where the data was.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from qcow2_dump.checks.facts import CheckFacts
from qcow2_dump.checks.mapping.entry_classes import EntryState, l2_states
from qcow2_dump.checks.refcount_map import RefcountMap
from qcow2_dump.checks.tables.l2_batches import read_l2_batches
from qcow2_dump.ondisk import arrays
from qcow2_dump.ondisk.mapping import ClusterType, EntryFlag
from qcow2_dump.planners.checked import Checked
from qcow2_dump.planners.draft import Draft
from qcow2_dump.planners.fields.bitmaps import mark_bitmaps_in_use
from qcow2_dump.planners.mapping.changes import (
    L2Rows,
    certain_references,
    changeable_slots,
    changeable_tables,
    put_l1,
    put_l2,
    sensible_slots,
    tables_among,
    well_formed_rows,
)
from qcow2_dump.planners.mapping.losses import LossList
from qcow2_dump.planners.proposal import GuestLoss

__all__ = ["Dropped", "drop_unusable"]

_Mask = NDArray[np.bool_]

_ZERO = np.uint64(int(EntryFlag.ZERO))
_LOW_HALF = np.uint64(0xFFFF_FFFF)
_NOTHING = np.uint64(0)

_CODES = ("l1.unaligned", "l1.beyond-end", "l2.unaligned", "l2.beyond-end")
_BETWEEN = "leads to an offset between two clusters"
_BEYOND = "leads past the end of the file"


@dataclass(slots=True)
class Dropped:
    """What the guest loses: the first ranges, how many in all, and sentences about what is left."""

    losses: list[GuestLoss] = field(default_factory=list)
    losses_total: int = 0
    notes: list[str] = field(default_factory=list)


def drop_unusable(draft: Draft, found: Checked) -> Dropped:
    """Have unusable entries of all trees made unallocated; bitmaps are marked.

    An entry past the end that holds no data keeps on reading as zeros. Raises SourceError when a
    table cannot be read.
    """
    if not found.has(*_CODES):
        return Dropped()
    dropper = _Dropper(draft, found.facts, certain_references(found.facts))
    dropper.drop_l1()
    dropper.drop_l2()
    losses = dropper.losses
    if losses.total:
        mark_bitmaps_in_use(draft, found)
    return Dropped(losses.listed, losses.total, list(dropper.notes()))


class _Dropper:
    def __init__(self, draft: Draft, facts: CheckFacts, references: RefcountMap) -> None:
        self._draft = draft
        self._facts = facts
        # Past the end of a file that was cut short, nothing leads anywhere in a sound table.
        self._slots = changeable_slots(facts, references)
        self._slots &= sensible_slots(facts, past_the_end=False)
        self._tables = changeable_tables(facts, references)
        self.losses = LossList(facts)
        self._left = 0

    def drop_l1(self) -> None:
        """Clear the L1 entries that do not lead to a cluster of the file."""
        raw, space = self._facts.slots.raw, self._facts.space
        offsets = arrays.l1_offsets(raw)
        unaligned = (offsets & np.uint64(space.cluster_size - 1)) != _NOTHING
        beyond = ~unaligned & (offsets >= np.uint64(space.end))
        self._left += int(np.count_nonzero((unaligned | beyond) & ~self._slots))
        for mask, why in ((unaligned, _BETWEEN), (beyond, _BEYOND)):
            chosen = np.flatnonzero(mask & self._slots)
            self.losses.add_slots(chosen, f"the L1 entry {why}")
        chosen = np.flatnonzero((unaligned | beyond) & self._slots)
        zeros = np.zeros(len(chosen), dtype=np.uint64)
        put_l1(self._draft, self._facts, chosen, zeros, "l1.dropped")

    def drop_l2(self) -> None:
        """Clear the L2 entries that do not lead to a cluster of the file."""
        facts, tables = self._facts, self._facts.tables
        bad = ~tables.misread & ((tables.unaligned > 0) | (tables.invalid > 0))
        chosen = tables_among(tables, bad)
        for batch in read_l2_batches(facts.image.source, facts.image.geometry, chosen):
            self._drop_rows(L2Rows.of(batch, np.arange(len(batch.tables))))

    def notes(self) -> Iterator[str]:
        """What is left, in a sentence."""
        if self._left:
            one = self._left == 1
            yield (
                f"{self._left:,} unusable entr{'y is' if one else 'ies are'} left as "
                f"{'it is' if one else 'they are'}: something else claims the cluster of the "
                "table as well, or most of its entries are nonsense, so that it may be no table "
                "at all."
            )

    def _drop_rows(self, old: L2Rows) -> None:
        facts, header = self._facts, self._facts.image.header
        raw, bitmaps = old.entries, old.bitmaps
        types = arrays.cluster_types(
            raw, extended_l2=header.extended_l2, data_file=header.has_data_file
        )
        states = l2_states(raw, types, header, facts.space)
        without_data = types == ClusterType.ZERO_ALLOC
        if bitmaps is not None:
            without_data = (types == ClusterType.NORMAL) & ((bitmaps & _LOW_HALF) == _NOTHING)
        beyond = states == EntryState.INVALID
        unaligned = (states == EntryState.UNALIGNED) & ~without_data
        certain = self._tables[old.tables] & well_formed_rows(raw, types)
        self._left += int(np.count_nonzero((beyond | unaligned)[~certain]))
        certain = certain[:, np.newaxis]
        for mask, why in ((unaligned, _BETWEEN), (beyond & ~without_data, _BEYOND)):
            self._note_losses(old, mask & certain, f"the L2 entry {why}")
        lost = (unaligned | beyond & ~without_data) & certain
        put_l2(self._draft, facts, old, _cleared(old, lost, types, _NOTHING), "l2.dropped")
        kept = beyond & without_data & certain
        plain = _ZERO if bitmaps is None else _NOTHING
        put_l2(self._draft, facts, old, _cleared(old, kept, types, plain), "l2.dropped-zero")

    def _note_losses(self, rows: L2Rows, lost: _Mask, why: str) -> None:
        for row in np.flatnonzero(lost.any(axis=1)).tolist():
            indices = np.flatnonzero(lost[row]) + rows.first
            self.losses.add_entries(int(rows.tables[row]), indices, why)


def _cleared(old: L2Rows, mask: _Mask, types: NDArray[np.uint8], value: np.uint64) -> L2Rows:
    """The rows with some entries (bool[rows, columns]) replaced by a value.

    Subclusters that read as zeros go on doing so; a compressed cluster has none.
    """
    entries = np.where(mask, value, old.entries)
    if old.bitmaps is None:
        return replace(old, entries=entries)
    zeros = np.where(types == ClusterType.COMPRESSED, _NOTHING, old.bitmaps & ~_LOW_HALF)
    return replace(old, entries=entries, bitmaps=np.where(mask, zeros, old.bitmaps))
