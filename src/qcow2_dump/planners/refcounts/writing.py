"""Refcounts put right: raised before anything relies on it, lowered when nothing does any more."""

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from qcow2_dump.checks.bitset import BitSet
from qcow2_dump.checks.stored import StoredChunk
from qcow2_dump.checks.stretches import stretches
from qcow2_dump.ondisk import arrays
from qcow2_dump.ondisk.header import FIELD_OFFSETS
from qcow2_dump.plan.model import Field
from qcow2_dump.planners.allocator import Allocator
from qcow2_dump.planners.checked import Checked
from qcow2_dump.planners.draft import Draft, Stage
from qcow2_dump.planners.refcounts.blocks import BlockLayout, lay_out_blocks
from qcow2_dump.planners.refcounts.packed import ChangedWords, changed_words
from qcow2_dump.planners.refcounts.targets import RefcountTargets, Stretch

__all__ = ["FinalRefcounts", "plan_refcounts"]

_U64 = NDArray[np.uint64]
_Unsigned = NDArray[np.unsignedinteger]

# Refcounts that are worked on together, at most.
_PIECE = 1 << 17
# Table entries that change at most so far apart are written together.
_NEAR = 64


@dataclass(slots=True)
class FinalRefcounts:
    """What the refcounts will be, for the COPIED flags.

    ``one`` are the clusters whose refcount will be exactly 1, ``unsure`` those of them that have
    not exactly one reference, ``kept`` those whose refcount stays above the references. ``raised``
    and ``lowered`` count clusters. ``pointers`` says whether blocks or table move, which
    ``changes`` the references of clusters, and ``replaced`` are clusters given up knowingly.
    ``moved`` are the blocks that will be elsewhere or gone, by their indices (int64).
    ``leaves_one`` says whether a refcount of 1 becomes another although something refers to it.
    """

    one: BitSet
    unsure: BitSet
    kept: BitSet
    raised: int = 0
    lowered: int = 0
    pointers: bool = False
    leaves_one: bool = False
    replaced: set[int] = field(default_factory=set)
    changes: dict[int, int] = field(default_factory=dict)
    moved: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, dtype=np.int64))


def plan_refcounts(
    draft: Draft,
    found: Checked,
    drafted: Checked,
    targets: RefcountTargets,
    allocator: Allocator,
    *,
    rebuild: bool,
) -> FinalRefcounts:
    """Put into a draft what makes its refcounts what they should be.

    ``drafted`` is the check of the draft as it is; ``rebuild`` replaces blocks and tables that
    cannot be used. Raises UnsafePlanError where new blocks find no room.
    """
    layout = lay_out_blocks(found, drafted, targets, allocator, rebuild=rebuild)
    clusters = -(-max(draft.new_size, drafted.facts.space.end) >> drafted.facts.space.cluster_bits)
    clusters = max(clusters, found.facts.clusters, drafted.facts.clusters)
    writer = _Writer(draft, found, targets, layout, clusters)
    writer.write_blocks()
    writer.write_table()
    final = writer.final
    final.pointers = layout.changes
    final.moved = layout.moved
    # What still has an owner is given up by one of several only.
    final.replaced = {c for c in targets.replaced if not targets.references(c)}
    final.changes = targets.changes
    return final


class _Writer:
    def __init__(
        self,
        draft: Draft,
        found: Checked,
        targets: RefcountTargets,
        layout: BlockLayout,
        clusters: int,
    ) -> None:
        self._draft = draft
        self._stored = found.facts.stored
        self._geometry = found.image.geometry
        self._targets = targets
        self._layout = layout
        self._clusters = clusters
        self.final = FinalRefcounts(BitSet(clusters), BitSet(clusters), BitSet(clusters))

    def write_blocks(self) -> None:
        """Go through all refcounts, in pieces."""
        for chunk in self._stored.chunks(self._clusters):
            if self._is_right(chunk):
                self._note_right(chunk)
                continue
            values = chunk.values
            if values is None:
                values = np.zeros(chunk.end - chunk.first, dtype=np.uint8)
            stretch = self._targets.of(chunk.first, values)
            raised, lowered = stretch.target > stretch.held, stretch.target < stretch.held
            bits = self._geometry.refcount_bits
            words = changed_words(stretch, raised, bits), changed_words(stretch, lowered, bits)
            finals = [self._write_block(part, words) for part in self._blocks_of(stretch)]
            self._note(stretch, np.concatenate(finals))

    def _is_right(self, chunk: StoredChunk) -> bool:
        """Whether nothing is to be done about a piece; most are like that."""
        return not self._has_new(chunk) and self._targets.untouched(
            chunk.first, chunk.end, chunk.values
        )

    def _has_new(self, chunk: StoredChunk) -> bool:
        if not self._layout.made:
            return False
        per_block = self._geometry.refcounts_per_block
        blocks = range(chunk.first // per_block, -(-chunk.end // per_block))
        return any(index in self._layout.made for index in blocks)

    def _note_right(self, chunk: StoredChunk) -> None:
        if chunk.values is not None:
            self.final.one.store(chunk.first, chunk.values == 1)

    def _blocks_of(self, stretch: Stretch) -> Iterator[Stretch]:
        """The blocks in a piece, or parts of them."""
        step = min(self._geometry.refcounts_per_block, _PIECE)
        first, behind = stretch.first, stretch.first + len(stretch.stored)
        while first < behind:
            end = min(first // step * step + step, behind)
            yield stretch.part(first, end)
            first = end

    def _write_block(self, stretch: Stretch, words: tuple[ChangedWords, ChangedWords]) -> _U64:
        """Put the refcounts of one block, or of a part of it, into the draft.

        ``words`` are those that raise refcounts and those that lower them, of this and of other
        blocks. Returns what the refcounts will be where they are not the references (uint64[n]).
        """
        index, within = divmod(stretch.first, self._geometry.refcounts_per_block)
        offset = self._layout.offset_of(index)
        if offset is None:
            # Nowhere to write to: what is stored is what stays.
            return stretch.held
        held, target = stretch.held, stretch.target
        raised, lowered = (int(np.count_nonzero(flags)) for flags in (target > held, target < held))
        at = offset + within * self._geometry.refcount_bits // 8
        place = Field("refcount_block", offset, self._geometry.refcount_bits, within)
        if index in self._layout.made:
            values = stretch.with_targets(np.maximum(held, target))
            self._put(Stage.NEW, at, values, place, "refcount.block-new")
        elif raised:
            self._put_changed(Stage.RAISE, at, stretch, words[0], place)
        if lowered:
            self._put_changed(Stage.LOWER, at, stretch, words[1], place)
        self.final.raised += raised
        self.final.lowered += lowered
        return target

    def _note(self, stretch: Stretch, final: _U64) -> None:
        """Note what refcounts some clusters will have, those in ``final`` where they differ."""
        one = stretch.stored == 1
        one[stretch.differing] = final == 1
        self.final.one.store(stretch.first, one)
        # Of these there are few, and the sets take no room before there are any.
        at, counted = stretch.differing, stretch.counted
        left = (stretch.held == 1) & (final != 1) & (counted != 0)
        self.final.leaves_one |= bool(left.any())
        self.final.unsure.add(at[(final == 1) & (counted != 1)] + stretch.first)
        self.final.kept.add(at[final > counted] + stretch.first)

    def _put_changed(
        self, stage: Stage, at: int, stretch: Stretch, words: ChangedWords, place: Field
    ) -> None:
        """Put the refcounts of one block that rise, or those that fall once the others rose."""
        rising = stage is Stage.RAISE
        reason = "refcount.raise" if rising else "refcount.lower"
        few = words.of(stretch)
        if few is not None:
            self._draft.put_bits(stage, at, few, place, reason)
            return
        target = np.maximum(stretch.held, stretch.target) if rising else stretch.target
        self._put(stage, at, stretch.with_targets(target), place, reason)

    def _put(self, stage: Stage, at: int, values: _Unsigned, place: Field, reason: str) -> None:
        packed = arrays.pack_refcounts(values, self._geometry.refcount_order)
        mask = None
        if spare := len(values) * self._geometry.refcount_bits % 8:
            # The other refcounts in the last byte are those of clusters that were not looked at.
            mask = b"\xff" * (len(packed) - 1) + bytes([(1 << spare) - 1])
        self._draft.put(stage, at, packed, place, reason, mask=mask)

    def write_table(self) -> None:
        """Put the table into the draft: entries that change, or a new one and the pointer to it."""
        layout = self._layout
        if layout.table is None or not layout.changes:
            return
        if not layout.new_table:
            changed = np.flatnonzero(layout.entries != layout.old_entries)
            starts, ends = stretches(changed, _NEAR)
            for first, end in zip(starts.tolist(), ends.tolist(), strict=True):
                self._draft.put_words(
                    Stage.SWITCH_REFCOUNTS,
                    layout.table + 8 * first,
                    layout.old_entries[first:end],
                    layout.entries[first:end],
                    Field("refcount_table", layout.table, 64, first),
                    "refcount.table-entry",
                )
            return
        place = Field("refcount_table", layout.table)
        new = arrays.encode_u64(layout.entries)
        self._draft.put(Stage.NEW, layout.table, new, place, "refcount.table-new")
        length = len(new) // self._geometry.cluster_size
        start = FIELD_OFFSETS["refcount_table_offset"]
        pointer = layout.table.to_bytes(8, "big") + length.to_bytes(4, "big")
        self._draft.put(
            Stage.SWITCH_REFCOUNTS,
            start,
            pointer,
            Field("header", 0, 0, start),
            "refcount.table-new",
        )
