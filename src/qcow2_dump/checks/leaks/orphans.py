"""What the leaked clusters hold that nothing refers to (repair rules, section 1).

Does one read as a table (c), is one nothing but zeros, was one a bitmap's? All of it is bounded:
what is not looked at counts as an orphan.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from qcow2_dump.checks.bitset import BitSet
from qcow2_dump.checks.facts import CheckFacts
from qcow2_dump.checks.leaks.lost_tables import TableJudge
from qcow2_dump.checks.pass_bitmaps import bitmap_clusters, bitmap_regions
from qcow2_dump.checks.pass_refcounts import LeakMap
from qcow2_dump.ondisk import arrays
from qcow2_dump.storage.base import ByteSource

__all__ = [
    "MOST_CANDIDATES",
    "LeakContents",
    "examine_leaks",
    "stale_bitmap_clusters",
    "tables_in_slack",
]

MOST_CANDIDATES = 1 << 16
"""How many leaked clusters are looked into; the others count as orphans."""

_FIRST_LOOK = 4096
# Bytes read of clusters of which the first look says too little.
_SECOND_LOOKS = 1 << 28
# Clusters that are one hole, or are looked at one by one.
_STRETCH = 1 << 16
# Clusters looked into at a time: 4 MiB.
_BATCH = 1 << 10

# Structures that leave the rest of their last cluster unused; of so many it is looked at.
_SHORT = frozenset({"l1", "snapshot_table", "bitmap_directory", "bitmap_table"})
_MOST_SLACKS = 1 << 10


class LeakContents(NamedTuple):
    """What the unreferenced leaks hold, as sets of host clusters.

    ``tables`` read as lost tables, ``blank`` ones are holes or all zeros, ``unread`` ones were
    too many to look into.
    """

    tables: BitSet
    blank: BitSet
    unread: BitSet


def stale_bitmap_clusters(facts: CheckFacts, leaks: LeakMap) -> BitSet:
    """The unreferenced leaks that a bitmaps extension leads to which is not valid any more.

    None when something else uses a cluster of these bitmaps by now: then what was theirs has
    been freed and given out again, and the extension tells nothing.
    """
    image, found = facts.image, BitSet(facts.references.size)
    if image.bitmaps_valid:
        return found
    for clusters in _bitmap_clusters(facts):
        if not facts.counted.unused(clusters).all():
            return BitSet(facts.references.size)
        found.add(clusters[leaks.unreferenced.contains(clusters)])
    return found


def _bitmap_clusters(facts: CheckFacts) -> Iterator[NDArray[np.int64]]:
    directory = facts.image.bitmap_directory
    if directory is None:
        return
    for region in bitmap_regions(facts, directory):
        if region.length and region.offset + region.length <= facts.space.end:
            yield np.arange(*facts.space.span(region.offset, region.length), dtype=np.int64)
    for _, offsets in bitmap_clusters(facts, directory):
        yield facts.cluster_indices(offsets)


def examine_leaks(facts: CheckFacts, leaks: LeakMap, skip: BitSet) -> LeakContents:
    """Look into the unreferenced leaks, in host order, apart from the clusters to ``skip``."""
    look, leaked = _Look(facts, leaks), leaks.unreferenced
    source, size = facts.image.source, facts.space.cluster_size
    limit = leaked.size * size
    data = 0  # where the next data of the file begins
    for first in range(0, leaked.size, _STRETCH):
        end = first + _STRETCH
        if not leaked.any_in(first, end):
            continue
        if data < first * size:
            data, _ = next(source.data_ranges(first * size, limit), (limit, limit))
        if data >= min(end * size, limit) and not skip.any_in(first, end):
            # Most leaks lie in holes: so many are not looked at one by one.
            look.contents.blank.update_between(leaked, first, end)
            continue
        for chunk in leaked.chunks(first, end):
            candidates = chunk[~skip.contains(chunk)]
            held = _with_data(source, candidates, size)
            look.contents.blank.add(candidates[~held])
            look.into(candidates[held])
    return look.contents


def tables_in_slack(facts: CheckFacts, leaks: LeakMap) -> int:
    """Behind how many structures, in the rest of their last cluster, a lost table can be read.

    A wrong pointer to such a structure, or two tables exchanged, leave an L2 table there.
    """
    judge, size = TableJudge(facts, leaks), facts.space.cluster_size
    ends = {r.offset + r.length for r in facts.regions if r.kind in _SHORT and r.length}
    inside = sorted(end for end in ends if end % size and end < facts.space.length)
    found = 0
    for end in inside[:_MOST_SLACKS]:
        start = -(-end // 8) * 8
        words = arrays.decode_u64(facts.image.source.read(start, -start % size))
        found += bool(words.any()) and bool(judge.judge(words.reshape(1, -1)).table[0])
    return found


def _with_data(source: ByteSource, clusters: NDArray[np.int64], size: int) -> NDArray[np.bool_]:
    """Which clusters (ascending) are not holes of the file; asks once per stretch of data."""
    held = np.zeros(len(clusters), dtype=np.bool_)
    at, limit = 0, (int(clusters[-1]) + 1) * size if len(clusters) else 0
    while at < len(clusters):
        start, end = next(source.data_ranges(int(clusters[at]) * size, limit), (limit, limit))
        first, behind = np.searchsorted(clusters, [start // size, -(-end // size)])
        # The first cluster lies at or behind the place that was asked for.
        held[max(at, int(first)) : behind] = True
        at = max(at + 1, int(behind))
    return held


class _Look:
    """Reads leaked clusters, as far as the bounds allow."""

    def __init__(self, facts: CheckFacts, leaks: LeakMap) -> None:
        size = facts.references.size
        self.contents = LeakContents(BitSet(size), BitSet(size), BitSet(size))
        self._source = facts.image.source
        self._size = facts.space.cluster_size
        self._judge = TableJudge(facts, leaks)
        self._head = min(_FIRST_LOOK, self._size)
        self._buffer = bytearray()
        self._room = MOST_CANDIDATES
        self._budget = _SECOND_LOOKS

    def into(self, clusters: NDArray[np.int64]) -> None:
        """Look into some clusters: int64, ascending."""
        self.contents.unread.add(clusters[self._room :])
        clusters = clusters[: self._room]
        self._room -= len(clusters)
        for start in range(0, len(clusters), _BATCH):
            self._take(clusters[start : start + _BATCH])

    def _take(self, clusters: NDArray[np.int64]) -> None:
        words = self._heads(clusters)
        looks = self._judge.judge(words)
        self.contents.tables.add(clusters[looks.table])
        if self._head == self._size:
            self.contents.blank.add(clusters[~words.any(axis=1)])
            return
        for at in np.flatnonzero(~looks.table & (looks.silent | looks.pure)).tolist():
            self._look_again(clusters[at : at + 1], silent=bool(looks.silent[at]))

    def _heads(self, clusters: NDArray[np.int64]) -> NDArray[np.uint64]:
        """The first words of some clusters: uint64[clusters, words]."""
        head = self._head
        if not self._buffer:
            # Most leaks are holes of the file, which nobody reads.
            self._buffer = bytearray(_BATCH * head)
        buffer = memoryview(self._buffer)[: len(clusters) * head]
        for at, cluster in enumerate(clusters.tolist()):
            self._source.read_into(cluster * self._size, buffer[at * head : (at + 1) * head])
        return arrays.decode_u64(buffer).reshape(len(clusters), -1)

    def _look_again(self, cluster: NDArray[np.int64], *, silent: bool) -> None:
        """Read all of a cluster whose first words say too little."""
        self._budget -= self._size
        if self._budget < 0:
            # What has entries was judged by those that were seen.
            self.contents.unread.add(cluster[: int(silent)])
            return
        words = arrays.decode_u64(self._source.read(int(cluster[0]) * self._size, self._size))
        if not words.any():
            self.contents.blank.add(cluster)
        elif self._judge.judge(words.reshape(1, -1)).table[0]:
            self.contents.tables.add(cluster)
