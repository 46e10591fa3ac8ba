"""Gaps of L2 tables beside which leaks lie (repair rules, section 1, rule (e)).

Where the neighbours in a table are also the neighbours of a run of leaks in the file, the entries
between them were lost: a dying writer leaves such a run only by chance. The same goes for gaps of
whole sectors, as a lost write leaves them.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from qcow2_dump.checks.bitset import BitSet
from qcow2_dump.checks.facts import CheckFacts
from qcow2_dump.checks.leaks.metadata_clusters import metadata_clusters
from qcow2_dump.checks.pass_refcounts import LeakMap
from qcow2_dump.ondisk import arrays
from qcow2_dump.ondisk.mapping import EntryFlag

__all__ = ["Gaps", "find_gaps"]

GuestRange = tuple[int, int]
"""Guest offset and length in bytes."""

# A run with metadata on one side needs this many clusters to be no accident.
_LONG_RUN = 8
# Entries read at a time, unless one table has more.
_BATCH_ENTRIES = 1 << 16
_SECTOR = 512

_COMPRESSED = np.uint64(int(EntryFlag.COMPRESSED))


@dataclass(slots=True)
class Gaps:
    """The first gap that a run of leaks fills exactly, and the first that looks wiped.

    A wiped gap consists of whole sectors of a table, and a leak lies in the file just before the
    cluster that is mapped just behind the gap. It is looked for as long as no filled one is found.
    """

    filled: GuestRange | None = None
    wiped: GuestRange | None = None


def find_gaps(facts: CheckFacts, leaks: LeakMap) -> Gaps:
    """Walk the L2 tables until a gap is found that leaks fill."""
    gaps = Gaps()
    if not leaks.unreferenced or facts.image.header.has_data_file:
        return gaps
    finder = _GapFinder(facts, leaks)
    geometry = facts.image.geometry

    def place(table: int, start: int, length: int) -> GuestRange:
        guest = geometry.guest_offset(int(facts.tables.l1_index[table]), start)
        return guest, length << geometry.cluster_bits

    for tables, raw in _whole_tables(facts):
        found = finder.gaps_of(raw)
        for at in finder.filled(found):
            row, start, length = found.place(at)
            gaps.filled = place(int(tables[row]), start, length)
            return gaps
        for at in finder.wiped(found) if gaps.wiped is None else ():
            row, start, length = found.place(at)
            gaps.wiped = place(int(tables[row]), start, length)
            break
    return gaps


def _whole_tables(facts: CheckFacts) -> Iterator[tuple[NDArray[np.int64], NDArray[np.uint64]]]:
    """The L2 tables that hold entries, in host order: their positions, and uint64[tables, entries].

    Not as the walk reads them: a gap must not be cut in two. With extended L2 entries the bitmap
    is or-ed to its entry, since either says that the entry is used.
    """
    tables, geometry, source = facts.tables, facts.image.geometry, facts.image.source
    chosen = np.flatnonzero(tables.walked & ~tables.misread & ~tables.empty)
    rows = max(1, _BATCH_ENTRIES // geometry.l2_entries)
    size = geometry.cluster_size
    buffer = memoryview(bytearray(min(rows, len(chosen)) * size))
    for start in range(0, len(chosen), rows):
        batch = chosen[start : start + rows]
        source.read_rows(tables.offset[batch].tolist(), buffer[: len(batch) * size])
        raw = arrays.decode_u64(buffer[: len(batch) * size]).reshape(len(batch), -1)
        if geometry.extended_l2:
            # Bit 0 is no part of an offset, and makes an entry of a bitmap that stands alone.
            raw = raw[:, ::2] | (raw[:, 1::2] != 0).astype(np.uint64)
        yield batch, raw


class _RowGaps(NamedTuple):
    """The unallocated gaps of some tables, arrays of one length.

    ``end`` is the position of the used entry behind a gap among rows of ``width`` entries, the
    last of which is none of the table's; ``length`` in entries; ``before`` and ``after`` are the
    raw entries (uint64) on either side, 1 where there is none.
    """

    width: int
    end: NDArray[np.int64]
    length: NDArray[np.int64]
    before: NDArray[np.uint64]
    after: NDArray[np.uint64]

    def place(self, at: int) -> tuple[int, int, int]:
        """The row of a gap, its first entry and its length."""
        row, start = divmod(int(self.end[at] - self.length[at]), self.width)
        return row, start, int(self.length[at])


class _GapFinder:
    """Compares unallocated gaps of L2 tables with the leaks beside their neighbours."""

    def __init__(self, facts: CheckFacts, leaks: LeakMap) -> None:
        self._facts = facts
        self._leaked = leaks.unreferenced
        self._overcounted = leaks.overcounted

    def gaps_of(self, raw: NDArray[np.uint64]) -> _RowGaps:
        """The unallocated gaps of some tables, uint64[tables, entries]."""
        rows, columns = raw.shape
        # A used entry that maps nothing behind each row, and one before all, end every gap.
        framed = np.ones((rows, columns + 1), dtype=np.uint64)
        framed[:, :columns] = raw
        flat = framed.reshape(-1)
        used = np.flatnonzero(flat)
        lengths = np.diff(used, prepend=-1) - 1
        gaps = np.flatnonzero(lengths)
        before = np.where(gaps > 0, flat[used[gaps - 1]], np.uint64(1))
        return _RowGaps(columns + 1, used[gaps], lengths[gaps], before, flat[used[gaps]])

    def filled(self, gaps: _RowGaps) -> Iterator[int]:
        """The gaps that a run of leaks fills exactly, by position."""
        before, after = self._hosts(gaps.before), self._hosts(gaps.after)
        likely = self._likely(before, after, gaps.length)
        for at in np.flatnonzero(likely).tolist():
            if self._is_filled(int(before[at]), int(after[at]), int(gaps.length[at])):
                yield at

    def wiped(self, gaps: _RowGaps) -> list[int]:
        """The gaps of whole sectors just behind which a cluster is mapped that follows a leak.

        The leaks behind a gap's left neighbour tell nothing: a writer may have died there.
        """
        geometry, space = self._facts.image.geometry, self._facts.space
        entries = _SECTOR // geometry.l2_entry_size
        column = gaps.end % gaps.width
        whole = (column % entries == 0) & (gaps.length % entries == 0) & (gaps.after != 1)
        after = self._hosts(gaps.after)
        packed = (gaps.after & _COMPRESSED) != 0
        start, _ = arrays.compressed_extents(gaps.after[packed], geometry.cluster_bits)
        first = self._facts.cluster_indices(start)
        after[packed] = np.where(start < np.uint64(space.end), first, np.int64(-1))
        whole &= after > 0
        after, packed = after[whole], packed[whole]
        lost = self._leaked.contains(after - 1)
        lost |= packed & self._overcounted.contains(after)
        found: list[int] = np.flatnonzero(whole)[lost].tolist()
        return found

    def _hosts(self, raw: NDArray[np.uint64]) -> NDArray[np.int64]:
        """Host clusters of some entries, -1 for those that are no whole cluster in the file."""
        offsets = arrays.l2_offsets(raw)
        usable = ((raw & _COMPRESSED) == 0) & (offsets != 0)
        usable &= offsets < np.uint64(self._facts.space.end)
        return np.where(usable, self._facts.cluster_indices(offsets), np.int64(-1))

    def _likely(
        self, before: NDArray[np.int64], after: NDArray[np.int64], length: NDArray[np.int64]
    ) -> NDArray[np.bool_]:
        """Gaps of the right length whose first or last cluster would be a leak: bool[gaps]."""
        fits = (after - before == length + 1) | (length >= _LONG_RUN)
        starts = fits & (before >= 0) & (before + 1 < self._leaked.size)
        ends = fits & (after > 0)
        starts[starts] = self._leaked.contains(before[starts] + 1)
        ends[ends] = self._leaked.contains(after[ends] - 1)
        likely: NDArray[np.bool_] = starts | ends
        return likely

    def _is_filled(self, before: int, after: int, length: int) -> bool:
        if min(before, after) >= 0 and after - before == length + 1:
            return self._all_leaked(before + 1, after)
        if length < _LONG_RUN:
            return False
        follows = before >= 0 and self._is_metadata(before + 1 + length)
        if follows and self._all_leaked(before + 1, before + 1 + length):
            return True
        precedes = after >= 0 and self._is_metadata(after - length - 1)
        return precedes and self._all_leaked(after - length, after)

    def _all_leaked(self, first: int, end: int) -> bool:
        if first < 0 or end > self._leaked.size:
            return False
        return bool(self._leaked.flags(first, end).all())

    @cached_property
    def _metadata(self) -> BitSet:
        return metadata_clusters(self._facts)

    def _is_metadata(self, cluster: int) -> bool:
        if not 0 <= cluster < self._metadata.size:
            return False
        return bool(self._metadata.contains(np.array([cluster], dtype=np.int64))[0])
