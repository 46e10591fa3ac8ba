"""Changes of L1 and L2 entries put into a draft, whole stretches of tables at a time.

A table is only changed where nothing but the L1 entries that lead to it claims its cluster: what
lies in a shared cluster may be no table at all, and then these bits are somebody's data.
"""

import itertools
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qcow2_dump.checks.facts import CheckFacts
from qcow2_dump.checks.pass_blocks import check_blocks
from qcow2_dump.checks.pass_l1 import claim_l2_tables
from qcow2_dump.checks.pass_l2 import check_l2
from qcow2_dump.checks.pass_regions import claim_regions
from qcow2_dump.checks.refcount_map import RefcountMap
from qcow2_dump.checks.tables.l2_batches import L2Batch
from qcow2_dump.checks.tables.l2_tables import L2Tables
from qcow2_dump.ondisk import arrays
from qcow2_dump.ondisk.mapping import L2_RESERVED_MASK, ClusterType, EntryFlag
from qcow2_dump.plan.model import Field
from qcow2_dump.planners.draft import Draft, Stage

__all__ = [
    "L2Rows",
    "certain_references",
    "changeable_slots",
    "changeable_tables",
    "flaggable_tables",
    "put_l1",
    "put_l2",
    "sensible_slots",
    "sensible_tables",
    "tables_among",
    "well_formed_rows",
]

_U64 = NDArray[np.uint64]

# L1 entries that are changed together lie this close to each other, and are at most so many bytes.
_NEAR = 4096
_PIECE = 1 << 18

_WIDEST_COUNTER = 64

# So many entries that lead nowhere say nothing of the rest of a table yet.
_FEW_WRONG = 4
# In a table that is one for sure, one in so many entries leads nowhere.
_SURE = 16


@dataclass(frozen=True, slots=True)
class L2Rows:
    """Some rows of a batch as arrays of their own.

    ``tables`` are positions in `L2Tables` (int64[rows]); ``entries`` and ``bitmaps`` (None without
    extended L2 entries) are uint64[rows, columns] and start with entry ``first``.
    """

    tables: NDArray[np.int64]
    first: int
    entries: _U64
    bitmaps: _U64 | None

    @classmethod
    def of(cls, batch: L2Batch, rows: NDArray[np.int64]) -> "L2Rows":
        """Copy some rows (int64) of a batch, whose own arrays are overwritten by the next one."""
        bitmaps = None if batch.bitmaps is None else batch.bitmaps[rows]
        return cls(batch.tables[rows], batch.first, batch.entries[rows], bitmaps)

    def words(self) -> _U64:
        """The words on disk: uint64[rows, columns, 1 or 2]."""
        if self.bitmaps is None:
            return self.entries[:, :, np.newaxis]
        return np.stack([self.entries, self.bitmaps], axis=2)


def certain_references(facts: CheckFacts) -> RefcountMap:
    """The references of each cluster without those that come from what is certainly no L2 table.

    QEMU walks an L2 table wherever an L1 entry points, also between two clusters and in the
    header; the claims found there say nothing about anybody else's. Raises SourceError when a
    table cannot be read.
    """
    misread = facts.tables.misread
    if not misread.any():
        return facts.references
    bits = facts.references.bits
    while True:
        counting = facts.recounting(bits)
        tables = counting.tables
        tables.walked = tables.walked & ~misread
        tables.weight = np.where(misread, 0, tables.weight)
        tables.own = np.where(misread, 0, tables.own)
        claim_regions(counting)
        claim_l2_tables(counting)
        for _ in check_l2(counting):
            pass
        check_blocks(counting)
        if not counting.references.overflowed or bits == _WIDEST_COUNTER:
            return counting.references
        bits *= 2


def changeable_tables(facts: CheckFacts, references: RefcountMap) -> NDArray[np.bool_]:
    """Which L2 tables are tables for certain and can be changed: bool[tables].

    ``references`` are those of `certain_references`.
    """
    tables = facts.tables
    found = tables.walked & ~tables.misread
    clusters = np.where(found, tables.offset >> facts.space.cluster_bits, 0)
    found &= references.counts[clusters].astype(np.int64) == tables.weight
    return found


def tables_among(tables: L2Tables, chosen: NDArray[np.bool_]) -> L2Tables:
    """The same tables, of which only some (bool[tables]) are to be read."""
    found = tables.untouched()
    found.walked = tables.walked & chosen
    return found


def flaggable_tables(facts: CheckFacts, references: RefcountMap) -> NDArray[np.bool_]:
    """Which L2 tables may have COPIED flags changed: bool[tables].

    Beside those that can be changed in any way also tables that a guest entry claims as well, if
    nearly all that they hold leads somewhere: then the other claim is the wrong one.
    """
    tables, space = facts.tables, facts.space
    wrong = tables.unaligned + tables.invalid
    held = np.zeros(references.size, dtype=np.bool_)
    for region in facts.regions:
        # The key region of LUKS is found by its length, which a flipped bit makes large.
        if region.kind != "luks" and not space.is_beyond(region.offset, region.length):
            held[slice(*space.span(region.offset, region.length))] = True
    held[facts.cluster_indices(facts.stored.offsets[facts.claimed_blocks])] = True
    found = tables.walked & ~tables.misread
    found &= ~held[np.where(found, tables.offset >> space.cluster_bits, 0)]
    found &= wrong * _SURE <= tables.used
    return found | (changeable_tables(facts, references) & sensible_tables(facts))


def sensible_tables(facts: CheckFacts) -> NDArray[np.bool_]:
    """Which L2 tables hold mostly entries that lead somewhere: bool[tables].

    What does not is more likely something else, guest data for instance, to which a damaged
    pointer leads; its bits are not to be put right.
    """
    tables = facts.tables
    wrong = tables.unaligned + tables.invalid
    sensible: NDArray[np.bool_] = wrong <= np.maximum(_FEW_WRONG, tables.used)
    return sensible


def well_formed_rows(raw: _U64, types: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Which rows of L2 entries (uint64 and uint8[rows, columns]) hold mostly what an entry can be.

    Wherever it leads: in a file that was cut short, all entries of a table may lead past its end.
    """
    packed = types == ClusterType.COMPRESSED
    odd = (raw & np.uint64(L2_RESERVED_MASK)) != 0
    odd = np.where(packed, (raw & np.uint64(int(EntryFlag.COPIED))) != 0, odd)
    wrong = np.count_nonzero(odd, axis=1)
    formed: NDArray[np.bool_] = wrong <= np.maximum(
        _FEW_WRONG, np.count_nonzero(raw, axis=1) - wrong
    )
    return formed


def sensible_slots(facts: CheckFacts, *, past_the_end: bool = True) -> NDArray[np.bool_]:
    """Which L1 entries lie in an L1 table most of whose entries lead somewhere: bool[slots].

    Where entries ``past_the_end`` do not count, a table of a file that was cut short is one.
    """
    slots, space = facts.slots, facts.space
    offsets = arrays.l1_offsets(slots.raw)
    wrong = (offsets & np.uint64(space.cluster_size - 1)) != 0
    if past_the_end:
        wrong |= offsets >= np.uint64(space.end)
    sensible = np.ones(len(slots), dtype=np.bool_)
    for tree in facts.trees:
        chosen = slots.of_tree(tree)
        bad = int(np.count_nonzero(wrong[chosen]))
        if bad > max(_FEW_WRONG, chosen.stop - chosen.start - bad):
            sensible[chosen] = False
    return sensible


def changeable_slots(facts: CheckFacts, references: RefcountMap) -> NDArray[np.bool_]:
    """Which L1 entries lie in a table that nothing else claims, and can be changed: bool[slots]."""
    slots = facts.slots
    clusters = np.minimum(slots.place >> facts.space.cluster_bits, references.size - 1)
    found: NDArray[np.bool_] = references.counts[clusters].astype(np.int64) == slots.weight
    return found


def put_l1(
    draft: Draft, facts: CheckFacts, positions: NDArray[np.int64], new: _U64, reason: str
) -> None:
    """Have some L1 slots, by ascending positions (int64), changed to ``new`` (uint64)."""
    slots = facts.slots
    place, index = slots.place[positions], slots.l1_index[positions]
    table = place - 8 * index
    apart = (np.diff(place) > _NEAR) | (np.diff(table) != 0)
    apart |= np.diff(place // _PIECE) != 0
    bounds = [0, *(np.flatnonzero(apart) + 1).tolist(), len(positions)]
    span = facts.image.geometry.l1_span
    for start, end in itertools.pairwise(bounds):
        if start == end:
            continue
        within = (place[start:end] - place[start]) >> 3
        # Entries in between are left out of the mask, since they are the same before and after.
        before = np.zeros(int(within[-1]) + 1, dtype=np.uint64)
        after = before.copy()
        before[within], after[within] = slots.raw[positions[start:end]], new[start:end]
        first = int(index[start])
        field = Field("l1", int(table[start]), 64, first, first * span, span)
        draft.put_words(Stage.SWITCH, int(place[start]), before, after, field, reason)


def put_l2(draft: Draft, facts: CheckFacts, old: L2Rows, new: L2Rows, reason: str) -> int:
    """Have some rows of L2 tables changed where they differ. Returns how many entries do."""
    geometry = facts.image.geometry
    before, after = old.words(), new.words()
    differing = (before != after).any(axis=2)
    for row in np.flatnonzero(differing.any(axis=1)).tolist():
        columns = np.flatnonzero(differing[row])
        low, high = int(columns[0]), int(columns[-1]) + 1
        table = int(old.tables[row])
        start = int(facts.tables.offset[table])
        first = old.first + low
        field = Field(
            "l2",
            start,
            8 * geometry.l2_entry_size,
            first,
            geometry.guest_offset(int(facts.tables.l1_index[table]), first),
            geometry.cluster_size,
        )
        draft.put_words(
            Stage.SWITCH,
            start + first * geometry.l2_entry_size,
            before[row, low:high].reshape(-1),
            after[row, low:high].reshape(-1),
            field,
            reason,
        )
    return int(np.count_nonzero(differing))
