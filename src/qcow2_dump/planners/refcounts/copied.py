"""COPIED flags of the active layer (format section 8.6), cleared before and set after all else.

A guest writes in place where the flag is set: it must never stand on a cluster that anybody else
still refers to, not even for a moment between two writes.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qcow2_dump.checks.bitset import BitSet
from qcow2_dump.checks.facts import CheckFacts
from qcow2_dump.checks.tables.l2_batches import L2Batch, read_l2_batches
from qcow2_dump.ondisk import arrays
from qcow2_dump.ondisk.mapping import ClusterType, EntryFlag
from qcow2_dump.plan.model import Field
from qcow2_dump.planners.checked import Checked
from qcow2_dump.planners.draft import Draft, Stage, Words
from qcow2_dump.planners.mapping.changes import (
    certain_references,
    flaggable_tables,
    sensible_slots,
)
from qcow2_dump.planners.policy import CopiedPolicy
from qcow2_dump.planners.refcounts.writing import FinalRefcounts

__all__ = ["copied_out_of_reach", "plan_copied"]

_I64 = NDArray[np.int64]
_U64 = NDArray[np.uint64]
_Flags = NDArray[np.bool_]

_COPIED = np.uint64(int(EntryFlag.COPIED))
_NONE = np.uint64(0)


def plan_copied(
    draft: Draft,
    found: Checked,
    drafted: Checked,
    final: FinalRefcounts,
    policy: CopiedPolicy,
) -> bool:
    """Put the flags that are to change into a draft.

    ``drafted`` is the check of the draft before its refcounts were put right, ``found`` itself
    where nothing else was changed; ``final`` is what the refcounts are going to be. Returns
    whether all flags are going to agree with them, as far as that was looked at: False says
    nothing.
    """
    changed = drafted is not found
    refcounts_change = bool(final.raised or final.lowered or final.pointers)
    if policy is CopiedPolicy.WITH_REFCOUNTS and not refcounts_change and not changed:
        return False
    agreed = not changed and not drafted.has("l1.copied", "l2.copied", "check.incomplete")
    planner = _Planner(draft, drafted.facts, final, policy, changed=changed, agreed=agreed)
    planner.plan_l1()
    planner.plan_l2()
    return planner.all_agree


def copied_out_of_reach(found: Checked, drafted: Checked) -> BitSet:
    """Clusters that active entries mark as COPIED where the flag cannot be cleared.

    These are entries of tables that may be no tables at all, and those of an L1 table that the
    draft takes from the active layer: until it is switched, they are in force. While the flag
    stands, the refcount must not leave 1.
    """
    facts = drafted.facts
    held = BitSet(facts.references.size)
    if found.facts.trees[0].l1_offset != facts.trees[0].l1_offset:
        former = found.facts.slots
        raw = former.raw[former.active & ((former.raw & _COPIED) != _NONE)]
        clusters = facts.cluster_indices(arrays.l1_offsets(raw))
        held.add(clusters[(clusters > 0) & (clusters < held.size)])
    out = facts.tables.walked & (facts.tables.active != 0)
    if out.any():
        out &= ~flaggable_tables(facts, certain_references(facts))
    if not out.any() or facts.image.header.has_data_file:
        return held
    for batch in read_l2_batches(facts.image.source, facts.image.geometry, facts.tables):
        raw = batch.entries[out[batch.tables]].reshape(-1)
        raw = raw[(raw >> np.uint64(62)) == np.uint64(2)]
        clusters = facts.cluster_indices(arrays.l2_offsets(raw))
        held.add(clusters[(clusters > 0) & (clusters < held.size)])
    return held


@dataclass(frozen=True, slots=True)
class _Change:
    """The entries whose flag is cleared first, and those whose flag is set at the end.

    By their numbers among some entries, ascending (int64[n] each); some are in both.
    """

    clear: _I64
    set: _I64

    def parts(self, bounds: _I64) -> Iterator[tuple[int, "_Change"]]:
        """What changes between each two bounds that follow each other, where anything does.

        With the number of the first of the two; entries are counted from it on.
        """
        clear, later = (np.searchsorted(at, bounds).tolist() for at in (self.clear, self.set))
        for part, first in enumerate(bounds[:-1].tolist()):
            going = self.clear[clear[part] : clear[part + 1]] - first
            coming = self.set[later[part] : later[part + 1]] - first
            if len(going) or len(coming):
                yield part, _Change(going, coming)


class _Planner:
    def __init__(
        self,
        draft: Draft,
        facts: CheckFacts,
        final: FinalRefcounts,
        policy: CopiedPolicy,
        *,
        changed: bool,
        agreed: bool,
    ) -> None:
        self._draft = draft
        self._facts = facts
        self._final = final
        self._may_set = policy is not CopiedPolicy.CLEAR_DOUBTFUL
        self._changed_before = changed
        # Where all flags agreed and no cluster with an entry leaves 1, none is to be cleared.
        leaves = final.leaves_one or final.pointers
        self._only_missing = agreed and not leaves and self._may_set
        self._references = certain_references(facts)
        self.all_agree = self._may_set and not facts.image.header.has_data_file

    def plan_l1(self) -> None:
        """The entries of the active L1 table."""
        facts = self._facts
        slots = facts.slots
        offsets = arrays.l1_offsets(slots.raw)
        chosen = np.flatnonzero(
            # Where the header leads is the L1 table, whatever else claims the place.
            slots.active & (offsets != _NONE) & sensible_slots(facts)
        )
        if len(chosen) < np.count_nonzero(slots.active & (offsets != _NONE)):
            self.all_agree = False
        if not len(chosen):
            return
        raw = slots.raw[chosen]
        places = slots.place[chosen]
        old = self._words_before(places, raw)
        change = self._change(raw, old, offsets[chosen])
        table = facts.trees[0].l1_offset
        span = facts.image.geometry.l1_span
        # Stretches of entries that follow each other in the file.
        bounds = np.concatenate(([0], np.flatnonzero(np.diff(places) != 8) + 1, [len(places)]))
        for part, of_part in change.parts(bounds):
            start, end = bounds[part : part + 2].tolist()
            index = (int(places[start]) - table) >> 3
            place = Field("l1", table, 64, index, index * span, span)
            self._put(int(places[start]), end - start, of_part, place)

    def plan_l2(self) -> None:
        """The entries of all L2 tables of the active layer."""
        facts = self._facts
        active = facts.tables.active != 0
        owned = flaggable_tables(facts, self._references) & active
        if not np.array_equal(owned, active):
            self.all_agree = False
        for batch in read_l2_batches(self._draft.overlay, facts.image.geometry, facts.tables):
            rows = np.flatnonzero(owned[batch.tables])
            if len(rows):
                self._plan_batch(batch, rows)

    def _plan_batch(self, batch: L2Batch, rows: _I64) -> None:
        entries = batch.entries if len(rows) == len(batch.tables) else batch.entries[rows]
        raw = entries.reshape(-1)
        if self._facts.image.header.has_data_file:
            change = self._change_in_data_file(raw)
        else:
            change = self._change_in_tables(raw, self._stale(batch, rows))
        tables = batch.tables[rows].tolist()
        for row, of_row in change.parts(np.arange(len(rows) + 1) * entries.shape[1]):
            self._put_row(batch, tables[row], of_row)

    def _change_in_tables(self, raw: _U64, stale: _Flags | None) -> _Change:
        """What is to be done about some L2 entries; the flags that are ``stale`` go first."""
        asked = self._asked(raw)
        if stale is not None:
            asked |= stale
        at = np.flatnonzero(asked)
        held = raw.take(at)
        mapped = arrays.l2_offsets(held) != _NONE
        mapped &= (held & np.uint64(int(EntryFlag.COMPRESSED))) == _NONE
        # A flag that goes early because of what was there before comes back for what is there now.
        early = np.zeros(len(at), dtype=np.bool_) if stale is None else stale[at]
        relevant = np.flatnonzero(mapped | early)
        at, held = at.take(relevant), held.take(relevant)
        mapped, early = mapped.take(relevant), early.take(relevant)
        offsets = arrays.l2_offsets(held) * mapped
        want = self._wanted(held, offsets) & mapped
        self._note_agreement(offsets, want, mapped)
        has = held.view(np.int64) < 0
        return _Change(at[(mapped & has & ~want) | early], at[want & (~has | early)])

    def _note_agreement(self, offsets: _U64, flags: _Flags, judged: _Flags) -> None:
        """Note whether the flags that some entries are going to have agree with the refcounts."""
        clusters = self._clusters(offsets)
        agree = self._contains(self._final.one, clusters) == flags
        agree &= clusters < self._final.one.size
        self.all_agree &= bool((agree | ~judged).all())

    def _asked(self, raw: _U64) -> _Flags:
        """Which L2 entries may not have the flag that they should have, at a glance: bool[n]."""
        if self._only_missing:
            missing: _Flags = raw.view(np.int64) > 0
            return missing
        has: _Flags = raw.view(np.int64) < 0
        if not self._may_set:
            return has
        one = self._final.one
        clusters = self._clusters(arrays.l2_offsets(raw))
        if int(clusters.max(initial=0)) < one.size:
            differs: _Flags = one.contains(clusters) != has
        else:
            differs = (self._contains(one, clusters) != has) | (clusters >= one.size)
        return differs

    def _stale(self, batch: L2Batch, rows: _I64) -> _Flags | None:
        """Flags in the image as found, on clusters that will not have a refcount of 1: bool[n].

        In the order of the entries of ``rows``; None where there is none.
        """
        if not self._changed_before:
            return None
        stale = np.zeros((len(rows), batch.entries.shape[1]), dtype=np.bool_)
        geometry = self._facts.image.geometry
        width = geometry.l2_entry_size
        for at, table in enumerate(batch.tables[rows].tolist()):
            start = int(self._facts.tables.offset[table]) + batch.first * width
            data = self._draft.image.source.read(start, batch.entries.shape[1] * width)
            old, _ = arrays.decode_l2(data, extended_l2=width == 16)
            differs = np.flatnonzero(old != batch.entries[rows[at]])
            stale[at, differs] = self._is_stale(old[differs], arrays.l2_offsets(old[differs]))
        return stale.reshape(-1) if stale.any() else None

    def _is_stale(self, old: _U64, offsets: _U64) -> _Flags:
        compressed = (old & np.uint64(int(EntryFlag.COMPRESSED))) != _NONE
        standing: _Flags = ((old & _COPIED) != _NONE) & (offsets != _NONE) & ~compressed
        standing &= ~self._contains(self._final.one, self._clusters(offsets))
        return standing

    def _change_in_data_file(self, raw: _U64) -> _Change:
        """What is to be done about entries of a data file: all that are mapped have the flag."""
        at = np.zeros(0, dtype=np.int64)
        if not self._may_set:
            return _Change(at, at)
        types = arrays.cluster_types(
            raw, extended_l2=self._facts.image.header.extended_l2, data_file=True
        )
        wanted = (types == ClusterType.NORMAL) | (types == ClusterType.ZERO_ALLOC)
        return _Change(at, np.flatnonzero(wanted & ((raw & _COPIED) == _NONE)))

    def _put_row(self, batch: L2Batch, table: int, change: _Change) -> None:
        geometry = self._facts.image.geometry
        width = geometry.l2_entry_size
        offset = int(self._facts.tables.offset[table])
        guest = geometry.guest_offset(int(self._facts.tables.l1_index[table]), batch.first)
        size = geometry.cluster_size
        place = Field("l2", offset, 8 * width, batch.first, guest, size)
        start = offset + batch.first * width
        self._put(start, batch.entries.shape[1], change, place)

    def _put(self, offset: int, length: int, change: _Change, place: Field) -> None:
        """Have flags of ``length`` entries that follow each other cleared and set."""
        wide = place.unit_bits // 64
        for at, stage, reason in (
            (change.clear, Stage.CLEAR_COPIED, "copied.clear"),
            (change.set, Stage.SET_COPIED, "copied.set"),
        ):
            if len(at):
                mask = np.full(len(at), _COPIED)
                new = mask if stage is Stage.SET_COPIED else np.zeros_like(mask)
                words = Words(length * wide, at * wide, mask, new)
                self._draft.put_bits(stage, offset, words, place, reason)

    def _words_before(self, places: _I64, raw: _U64) -> _U64:
        """The L1 entries of the image as found, at some file offsets."""
        if not self._changed_before or not len(places):
            return raw
        first, end = int(places[0]), int(places[-1]) + 8
        words = arrays.decode_u64(self._draft.image.source.read(first, end - first))
        before: _U64 = words[(places - first) >> 3]
        return before

    def _change(self, raw: _U64, old: _U64, offsets: _U64) -> _Change:
        """What is to be done about some L1 entries; ``old`` are those of the image as found."""
        want = self._wanted(raw, offsets)
        self._note_agreement(offsets, want, np.ones(len(raw), dtype=np.bool_))
        has = (raw & _COPIED) != _NONE
        stale = (old != raw) & self._is_stale(old, arrays.l1_offsets(old))
        clear, later = (has & ~want) | stale, want & (~has | stale)
        return _Change(np.flatnonzero(clear), np.flatnonzero(later))

    def _wanted(self, raw: _U64, offsets: _U64) -> _Flags:
        """Which entries should have the flag: a refcount of 1 that nobody doubts.

        A flag that agrees with a refcount in doubt stays, but none is set; nor is one on an entry
        that leads nowhere.
        """
        clusters = self._clusters(offsets)
        one = self._contains(self._final.one, clusters)
        beyond = clusters >= self._final.one.size
        if beyond.any():
            one[beyond] = self._is_one_beyond(clusters[beyond])
        has: _Flags = (raw & _COPIED) != _NONE
        # Nearly all entries have the flag, and a refcount of 1; of the rest more is asked.
        wanted = has & one if self._may_set else has & one & beyond
        asked = (one if self._may_set else has & one) & ~wanted & ~beyond
        at = np.flatnonzero(asked)
        sole = ~self._contains(self._final.unsure, clusters[at])
        sole &= (offsets[at] & np.uint64(self._facts.space.cluster_size - 1)) == _NONE
        wanted[at] |= sole
        return wanted

    def _is_one_beyond(self, clusters: _I64) -> _Flags:
        """Which clusters past the end keep a refcount of 1; a block made anew has none of them."""
        blocks = clusters // self._facts.image.geometry.refcounts_per_block
        return self._facts.stored.is_one(clusters) & ~np.isin(blocks, self._final.moved)

    def _clusters(self, offsets: _U64) -> _I64:
        return self._facts.cluster_indices(offsets)

    def _contains(self, held: BitSet, clusters: _I64) -> _Flags:
        if not len(clusters) or int(clusters.max()) < held.size:
            return held.contains(clusters)
        inside = clusters < held.size
        found = np.zeros(len(clusters), dtype=np.bool_)
        found[inside] = held.contains(clusters[inside])
        return found
