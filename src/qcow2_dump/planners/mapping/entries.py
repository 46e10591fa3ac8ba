"""Mending L1 and L2 entries in place (repair rules, section 3).

What is cleared here means nothing or can only mean one thing. Refcounts, and COPIED flags that are
merely wrong, are left to whoever makes the drafted image consistent.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from qcow2_dump.checks.facts import CheckFacts
from qcow2_dump.checks.mapping.entry_classes import l2_faults
from qcow2_dump.checks.refcount_map import RefcountMap
from qcow2_dump.checks.tables.l2_batches import read_l2_batches
from qcow2_dump.ondisk import arrays
from qcow2_dump.ondisk.mapping import (
    L1_RESERVED_MASK,
    L2_OFFSET_MASK,
    L2_RESERVED_MASK,
    ClusterType,
    EntryFlag,
)
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
    sensible_tables,
)
from qcow2_dump.planners.mapping.compressed_flags import CompressedFlags

__all__ = ["mend_entries"]

_U64 = NDArray[np.uint64]
_Mask = NDArray[np.bool_]

_COPIED = np.uint64(int(EntryFlag.COPIED))
_COMPRESSED = np.uint64(int(EntryFlag.COMPRESSED))
_ZERO = np.uint64(int(EntryFlag.ZERO))
_L1_RESERVED = np.uint64(L1_RESERVED_MASK)
_L2_RESERVED = np.uint64(L2_RESERVED_MASK)
_LOW_HALF = np.uint64(0xFFFF_FFFF)
_NOTHING = np.uint64(0)

_L1_CODES = ("l1.reserved", "l1.no-offset")
_L2_CODES = (
    "l2.reserved",
    "l2.copied-no-offset",
    "l2.bit0-extended",
    "l2.compressed-bitmap",
    "l2.compressed-copied",
    "l2.unaligned-zero",
)


def mend_entries(draft: Draft, found: Checked) -> list[str]:
    """Have the entries of all trees mended that can be, each distinct table once.

    Bitmaps are marked where the guest reads something else afterwards. Returns sentences about
    what is left. Raises SourceError when a table cannot be read.
    """
    if not found.has(*_L1_CODES, *_L2_CODES):
        return []
    references = certain_references(found.facts)
    _mend_l1(draft, found.facts, references)
    if not found.has(*_L2_CODES):
        return []
    mender = _L2Mender(draft, found.facts, references)
    mender.mend()
    if mender.flags.mapped:
        mark_bitmaps_in_use(draft, found)
    return list(mender.notes())


def _mend_l1(draft: Draft, facts: CheckFacts, references: RefcountMap) -> None:
    raw = facts.slots.raw
    changeable = changeable_slots(facts, references) & sensible_slots(facts)
    nowhere = arrays.l1_offsets(raw) == _NOTHING
    reserved = ~nowhere & ((raw & _L1_RESERVED) != _NOTHING)
    chosen = np.flatnonzero(changeable & reserved)
    put_l1(draft, facts, chosen, raw[chosen] & ~_L1_RESERVED, "l1.reserved")
    chosen = np.flatnonzero(changeable & nowhere)
    put_l1(draft, facts, chosen, np.zeros(len(chosen), dtype=np.uint64), "l1.no-offset")


@dataclass(frozen=True, slots=True)
class _Kinds:
    """What some rows hold: types (uint8), and the faults of each entry by code (bool)."""

    types: NDArray[np.uint8]
    faults: dict[str, _Mask]
    unaligned_zero: _Mask

    def fault(self, code: str) -> _Mask:
        """The entries that break a rule, without those that are to be replaced as a whole."""
        mask = self.faults.get(code)
        if mask is None:
            return np.zeros(self.types.shape, dtype=np.bool_)
        return mask & ~self.unaligned_zero


class _L2Mender:
    """Walks the L2 tables; ``flags`` decides about compressed entries with COPIED."""

    def __init__(self, draft: Draft, facts: CheckFacts, references: RefcountMap) -> None:
        self._draft = draft
        self._facts = facts
        self._changeable = changeable_tables(facts, references) & sensible_tables(facts)
        self.flags = CompressedFlags(facts, references)
        self._left = 0
        offsets = L2_OFFSET_MASK & ~(facts.space.cluster_size - 1)
        self._plain = _COPIED | np.uint64(offsets)

    def mend(self) -> None:
        """Mend all tables."""
        facts = self._facts
        for batch in read_l2_batches(facts.image.source, facts.image.geometry, facts.tables):
            rows = np.flatnonzero(batch.entries.any(axis=1))
            rows = rows[~facts.tables.misread[batch.tables[rows]]]
            rows = rows[self._are_odd(batch.entries[rows])]
            if not len(rows):
                continue
            old = L2Rows.of(batch, rows)
            certain = self._changeable[old.tables]
            for reason, new in self._mended(old, certain):
                put_l2(self._draft, facts, old, new, reason)

    def _are_odd(self, entries: _U64) -> _Mask:
        """Which tables hold anything but plain entries with an aligned offset: bool[rows]."""
        bits = np.bitwise_or.reduce(entries, axis=1)
        odd: _Mask = (bits & ~self._plain) != _NOTHING
        # A flag alone does not show among the flags of others.
        odd |= (entries == _COPIED).any(axis=1)
        return odd

    def notes(self) -> Iterator[str]:
        """What is left, in sentences."""
        if self._left:
            yield (
                f"{self._left:,} L2 entr{'y' if self._left == 1 else 'ies'} that could be mended "
                f"{'is' if self._left == 1 else 'are'} left as they are: the table may be no table "
                "at all, because something else claims its cluster, or it leads nowhere."
            )
        yield from self.flags.notes()

    def _mended(self, old: L2Rows, certain: _Mask) -> Iterator[tuple[str, L2Rows]]:
        """The rows as they should be, one reason after the other."""
        kinds = self._kinds(old)
        raw, bitmaps = old.entries, old.bitmaps
        both = kinds.fault("l2.compressed-copied")
        self._left += self._uncertain(kinds, certain)
        both &= certain[:, np.newaxis]
        decodes, mapped = self.flags.judge(old, both)
        left = both & ~decodes & ~mapped

        def change(mask: _Mask, entries: _U64) -> L2Rows:
            chosen = mask & certain[:, np.newaxis]
            return replace(old, entries=np.where(chosen, entries, raw))

        yield "l2.reserved", change(kinds.fault("l2.reserved"), raw & ~_L2_RESERVED)
        yield "l2.bit0-extended", change(kinds.fault("l2.bit0-extended"), raw & ~_ZERO)
        nowhere = kinds.fault("l2.copied-no-offset") & ~self._first_of_data_file(old)
        yield "l2.copied-no-offset", change(nowhere, raw & ~_COPIED)
        yield "l2.compressed-copied", change(decodes, raw & ~_COPIED)
        yield "l2.compressed-wrong", change(mapped, raw & ~_COMPRESSED)
        if bitmaps is None:
            yield "l2.unaligned-zero", change(kinds.unaligned_zero, np.full_like(raw, _ZERO))
            return
        yield "l2.unaligned-zero", change(kinds.unaligned_zero, np.zeros_like(raw))
        needless = kinds.fault("l2.compressed-bitmap") & ~mapped & ~left
        needless &= certain[:, np.newaxis]
        yield "l2.compressed-bitmap", replace(old, bitmaps=np.where(needless, _NOTHING, bitmaps))

    def _kinds(self, rows: L2Rows) -> _Kinds:
        header, raw = self._facts.image.header, rows.entries
        types = arrays.cluster_types(
            raw, extended_l2=header.extended_l2, data_file=header.has_data_file
        )
        mapped = (types == ClusterType.NORMAL) | (types == ClusterType.ZERO_ALLOC)
        offset_bits = np.uint64(self._facts.space.cluster_size - 1)
        unaligned = mapped & ((arrays.l2_offsets(raw) & offset_bits) != _NOTHING)
        if rows.bitmaps is None:
            unaligned &= (raw & _ZERO) != _NOTHING
        else:
            unaligned &= (rows.bitmaps & _LOW_HALF) == _NOTHING
        return _Kinds(types, l2_faults(raw, types, rows.bitmaps, header), unaligned)

    def _uncertain(self, kinds: _Kinds, certain: _Mask) -> int:
        """How many entries could be mended, if only their tables were tables for certain."""
        if certain.all():
            return 0
        wrong = kinds.unaligned_zero.copy()
        for code in _L2_CODES:
            wrong |= kinds.fault(code)
        return int(np.count_nonzero(wrong[~certain]))

    def _first_of_data_file(self, rows: L2Rows) -> _Mask:
        """The entry of the first guest cluster, which lies at offset 0 of a data file."""
        mask = np.zeros(rows.entries.shape, dtype=np.bool_)
        if self._facts.image.header.has_data_file and rows.first == 0 and mask.size:
            mask[:, 0] = self._facts.tables.l1_index[rows.tables] == 0
        return mask
