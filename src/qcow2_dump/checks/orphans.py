"""Leaked clusters that may be what is left of the guest's disk (repair rules, section 1).

Looks at the leaked clusters themselves: does one read as a table (c), does a run of them fill a
hole in a table exactly (e), is one nothing but zeros? All of it is bounded; what is not looked at
counts as an orphan.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from qcow2_dump.checks.bitset import BitSet
from qcow2_dump.checks.facts import CheckFacts
from qcow2_dump.checks.l2_tables import L2Batch, read_l2_batches
from qcow2_dump.checks.pass_bitmaps import bitmap_clusters, bitmap_regions
from qcow2_dump.checks.pass_refcounts import LeakMap
from qcow2_dump.ondisk import arrays
from qcow2_dump.ondisk.mapping import L2_RESERVED_MASK, EntryFlag

__all__ = ["LeakContents", "examine_leaks", "fills_a_gap", "stale_bitmap_clusters"]

_MOST_CANDIDATES = 1 << 16
_FIRST_LOOK = 4096
# Bytes read to find out whether leaked clusters hold nothing but zeros.
_ZERO_BUDGET = 1 << 28
# A run with metadata on one side needs this many clusters to be no accident.
_LONG_RUN = 8

_RESERVED = np.uint64(L2_RESERVED_MASK)
_COMPRESSED = np.uint64(int(EntryFlag.COMPRESSED))
_COPIED = np.uint64(int(EntryFlag.COPIED))


@dataclass(slots=True)
class LeakContents:
    """What the unreferenced leaks hold: host clusters that read as tables, and those of zeros.

    ``unread`` counts the clusters that were too many to look at.
    """

    tables: list[int] = field(default_factory=list)
    blank: set[int] = field(default_factory=set)
    unread: int = 0


def stale_bitmap_clusters(facts: CheckFacts) -> set[int]:
    """The clusters that a bitmaps extension leads to which is not valid any more."""
    image, found = facts.image, set[int]()
    if image.bitmaps_valid or image.bitmap_directory is None:
        return found
    for region in bitmap_regions(image.bitmap_directory):
        if region.offset + region.length <= facts.space.end:
            found.update(range(*facts.space.span(region.offset, region.length)))
    for _, offsets in bitmap_clusters(facts, image.bitmap_directory, report=False):
        found.update(facts.cluster_indices(offsets).tolist())
    return found


def examine_leaks(facts: CheckFacts, leaks: LeakMap, skip: set[int]) -> LeakContents:
    """Look into the unreferenced leaks, apart from the clusters to ``skip``."""
    contents = LeakContents()
    size = facts.space.cluster_size
    source, budget, seen = facts.image.source, _ZERO_BUDGET, 0
    for first, end in _runs(leaks.unreferenced):
        data = list(source.data_ranges(first * size, end * size))
        for cluster in range(first, end):
            if cluster in skip:
                continue
            if not _touches(data, cluster * size, size):
                contents.blank.add(cluster)
                continue
            if seen == _MOST_CANDIDATES:
                contents.unread += 1
                continue
            seen += 1
            head = source.read(cluster * size, min(_FIRST_LOOK, size))
            if head.count(0) == len(head):
                budget -= size
                if budget < 0:
                    contents.unread += 1
                    continue
            if _looks_like_table(facts, leaks, cluster, head):
                contents.tables.append(cluster)
            elif head.count(0) == len(head) and not any(source.read(cluster * size, size)):
                contents.blank.add(cluster)
    return contents


def _runs(members: BitSet) -> Iterator[tuple[int, int]]:
    """The members of a set as runs: first, and the one after the last."""
    for chunk in members.chunks():
        cuts = np.flatnonzero(np.diff(chunk) != 1) + 1
        for run in np.split(chunk, cuts):
            yield int(run[0]), int(run[-1]) + 1


def _touches(ranges: list[tuple[int, int]], start: int, length: int) -> bool:
    while ranges and ranges[0][1] <= start:
        ranges.pop(0)
    return bool(ranges) and ranges[0][0] < start + length


def _looks_like_table(facts: CheckFacts, leaks: LeakMap, cluster: int, head: bytes) -> bool:
    """Whether most entries of a leaked cluster lead to leaked clusters, as those of a lost table
    do; the first few settle it, unless there are none."""
    verdict = _decodes_to_leaks(facts, leaks, head)
    size = facts.space.cluster_size
    if verdict is None and len(head) < size:
        verdict = _decodes_to_leaks(facts, leaks, facts.image.source.read(cluster * size, size))
    return bool(verdict)


def _decodes_to_leaks(facts: CheckFacts, leaks: LeakMap, data: bytes) -> bool | None:
    words = arrays.decode_u64(data)
    if facts.image.geometry.extended_l2 and (verdict := _judge(facts, leaks, words[::2])):
        return verdict
    return _judge(facts, leaks, words)


def _judge(facts: CheckFacts, leaks: LeakMap, words: NDArray[np.uint64]) -> bool | None:
    """Rule (c) over some entries; None when there is none to judge by."""
    entries = words[(words != 0) & (words != 1)]
    if not len(entries):
        return None
    compressed = (entries & _COMPRESSED) != 0
    offsets = arrays.l2_offsets(entries)
    unaligned = (offsets & np.uint64(facts.space.cluster_size - 1)) != 0
    good = ~compressed & (offsets != 0) & ~unaligned & ((entries & _RESERVED) == 0)
    if compressed.any():
        start, _ = arrays.compressed_extents(entries[compressed], facts.space.cluster_bits)
        offsets[compressed] = start
        good[compressed] = (entries[compressed] & _COPIED) == 0
    good &= offsets < np.uint64(facts.space.end)
    clusters = facts.cluster_indices(offsets[good])
    lost = leaks.unreferenced.contains(clusters)
    leaked = int(np.count_nonzero(lost | leaks.overcounted.contains(clusters)))
    return leaked * 2 > len(entries) and bool(lost.any())


def fills_a_gap(facts: CheckFacts, leaks: LeakMap) -> tuple[int, int] | None:
    """Rule (e): the guest offset and the length in bytes of a gap that a run of leaks fills.

    None when there is no such gap. Walks the L2 tables until one is found.
    """
    if not leaks.unreferenced or facts.image.header.has_data_file:
        return None
    gaps = _GapFinder(facts, leaks)
    for batch in read_l2_batches(facts.image.source, facts.image.geometry, facts.tables):
        for row in range(len(batch.tables)):
            found = gaps.find(batch, row)
            if found is not None:
                return found
    return None


class _GapFinder:
    """Looks for unallocated gaps of L2 tables whose clusters are leaks in the right order."""

    def __init__(self, facts: CheckFacts, leaks: LeakMap) -> None:
        self._facts = facts
        self._leaked = leaks.unreferenced
        self._metadata = _metadata_clusters(facts)

    def find(self, batch: L2Batch, row: int) -> tuple[int, int] | None:
        """The guest range of the first gap of a table that a run of leaks fills exactly."""
        facts = self._facts
        raw = np.ascontiguousarray(batch.entries[row])
        used = np.flatnonzero(raw)
        if not len(used) or facts.tables.misread[batch.tables[row]]:
            return None
        hosts = self._hosts(raw[used])
        # Gaps lie before each used entry and behind the last one; -1 stands for no neighbour.
        starts = np.concatenate([[0], used + 1])
        lengths = np.concatenate([used, [len(raw)]]) - starts
        before = np.concatenate([[-1], hosts])
        after = np.concatenate([hosts, [-1]])
        joined = (before >= 0) & (after >= 0) & (after - before == lengths + 1)
        likely = (lengths > 0) & (
            joined | ((lengths >= _LONG_RUN) & ((before >= 0) | (after >= 0)))
        )
        geometry = facts.image.geometry
        l1_index = int(facts.tables.l1_index[batch.tables[row]])
        for at in np.flatnonzero(likely).tolist():
            length = int(lengths[at])
            if self._is_filled(int(before[at]), int(after[at]), length):
                guest = geometry.guest_offset(l1_index, batch.first + int(starts[at]))
                return guest, length << geometry.cluster_bits
        return None

    def _hosts(self, raw: NDArray[np.uint64]) -> NDArray[np.int64]:
        """Host clusters of some entries, -1 for those that are no whole cluster in the file."""
        offsets = arrays.l2_offsets(raw)
        usable = ((raw & _COMPRESSED) == 0) & (offsets != 0)
        usable &= offsets < np.uint64(self._facts.space.end)
        return np.where(usable, self._facts.cluster_indices(offsets), np.int64(-1))

    def _is_filled(self, before: int, after: int, length: int) -> bool:
        if before >= 0 and after - before == length + 1:
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

    def _is_metadata(self, cluster: int) -> bool:
        if not 0 <= cluster < self._metadata.size:
            return False
        return bool(self._metadata.contains(np.array([cluster], dtype=np.int64))[0])


def _metadata_clusters(facts: CheckFacts) -> BitSet:
    """The clusters of all metadata structures."""
    found = BitSet(facts.references.size)
    for region in facts.regions:
        if not facts.space.is_beyond(region.offset, region.length):
            first, end = facts.space.span(region.offset, region.length)
            found.add(np.arange(first, end, dtype=np.int64))
    tables = facts.tables.offset[facts.tables.offset < facts.space.end]
    found.add(tables >> facts.space.cluster_bits)
    found.add(facts.cluster_indices(facts.stored.offsets[facts.claimed_blocks]))
    return found
