"""Every L1 entry of every tree, read once however many trees share it (format section 8.3).

Snapshots may share an L1 table, and damaged ones may overlap in any way. The file is therefore
cut into segments with the same set of trees on them, so that the work is bounded by the size of
the file and not by the number of snapshots.
"""

import heapq
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qcow2_dump.checks.trees import Tree
from qcow2_dump.ondisk import arrays
from qcow2_dump.storage.base import ByteSource

__all__ = ["L1Slots", "Segment", "read_l1_slots", "segments_of"]

_READ = 1 << 20


@dataclass(frozen=True, slots=True)
class Segment:
    """A stretch of the file, in bytes, that the same trees use as L1 entries.

    ``weight`` counts these trees, ``active`` is 1 when the active layer is among them, and
    ``tree`` is the first of them, from whose start L1 indices are counted.
    """

    start: int
    end: int
    weight: int
    active: int
    tree: Tree


@dataclass(frozen=True, slots=True)
class L1Slots:
    """The L1 entries that are not zero, in file order; arrays of one length.

    ``place`` is the file offset of the entry in bytes (int64), ``raw`` the entry (uint64),
    ``weight`` the number of trees that hold it (int64), ``active`` whether the active layer does
    (bool), ``l1_index`` its index there (int64).
    """

    place: NDArray[np.int64]
    raw: NDArray[np.uint64]
    weight: NDArray[np.int64]
    active: NDArray[np.bool_]
    l1_index: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.raw)

    def of_tree(self, tree: Tree) -> slice:
        """The slots that lie in a tree's L1 table."""
        if not tree.usable:
            return slice(0, 0)
        start, end = np.searchsorted(self.place, [tree.l1_offset, tree.l1_end])
        return slice(int(start), int(end))


def segments_of(trees: Sequence[Tree]) -> list[Segment]:
    """Cut the L1 tables of the usable trees into disjoint segments, in file order."""
    usable = [tree for tree in trees if tree.usable and tree.l1_size]
    starts = sorted(range(len(usable)), key=lambda i: usable[i].l1_offset)
    bounds = sorted({t.l1_offset for t in usable} | {t.l1_end for t in usable})
    ends = sorted(tree.l1_end for tree in usable)
    first_alive: list[int] = []  # a heap of positions in `usable`, dead ones dropped late
    found: list[Segment] = []
    started = ended = 0
    for start, end in itertools.pairwise(bounds):
        while started < len(starts) and usable[starts[started]].l1_offset <= start:
            heapq.heappush(first_alive, starts[started])
            started += 1
        while ended < len(ends) and ends[ended] <= start:
            ended += 1
        while first_alive and usable[first_alive[0]].l1_end <= start:
            heapq.heappop(first_alive)
        if started > ended:
            tree = usable[first_alive[0]]
            found.append(Segment(start, end, started - ended, int(tree.is_active), tree))
    return found


def read_l1_slots(source: ByteSource, trees: Sequence[Tree]) -> L1Slots:
    """Read the L1 tables of the usable trees. Raises SourceError when that fails."""
    parts = [part for segment in segments_of(trees) for part in _read_segment(source, segment)]
    if not parts:
        none = np.zeros(0, dtype=np.int64)
        return L1Slots(none, none.view(np.uint64), none, none.astype(np.bool_), none)
    return L1Slots(
        place=np.concatenate([part.place for part in parts]),
        raw=np.concatenate([part.raw for part in parts]),
        weight=np.concatenate([part.weight for part in parts]),
        active=np.concatenate([part.active for part in parts]),
        l1_index=np.concatenate([part.l1_index for part in parts]),
    )


def _read_segment(source: ByteSource, segment: Segment) -> Iterator[L1Slots]:
    for data, end in source.data_ranges(segment.start, segment.end):
        # Entries are 8 bytes and tables start at sectors; a hole may start and end anywhere.
        for start in range(data & ~7, end, _READ):
            raw = arrays.decode_u64(source.read(start, min(_READ, (end - start + 7) & ~7)))
            used = np.flatnonzero(raw)
            if not len(used):
                continue
            place = start + used * 8
            yield L1Slots(
                place=place,
                raw=raw[used],
                weight=np.full(len(used), segment.weight, dtype=np.int64),
                active=np.full(len(used), bool(segment.active), dtype=np.bool_),
                l1_index=(place - segment.tree.l1_offset) >> 3,
            )
