"""Overlapping stretches of the file cut into disjoint ones, each with the number of its owners.

Tables of a damaged or hostile image may overlap in any way, thousands of them in the same place.
Cut up, every byte is read and counted once, however many tables it belongs to.
"""

import heapq
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

__all__ = ["Segments", "segments_of"]


class Segments:
    """Disjoint stretches in file order, each with at least one owner.

    ``start``, ``end`` (bytes), ``weight`` (how many intervals cover the stretch) and ``owner``
    (the position of the first of these) are int64 arrays of one length.
    """

    def __init__(
        self,
        start: NDArray[np.int64],
        end: NDArray[np.int64],
        weight: NDArray[np.int64],
        owner: NDArray[np.int64],
    ) -> None:
        self.start = start
        self.end = end
        self.weight = weight
        self.owner = owner

    def __len__(self) -> int:
        return len(self.start)

    def at(self, places: NDArray[np.int64]) -> NDArray[np.int64]:
        """The segment that each place (int64, inside of some segment) lies in: int64."""
        found: NDArray[np.int64] = np.searchsorted(self.start, places, side="right") - 1
        return found

    def runs(self) -> list[tuple[int, int]]:
        """Start and end of the stretches without a gap, in file order."""
        if not len(self):
            return []
        cuts = np.flatnonzero(self.start[1:] != self.end[:-1])
        starts = [int(self.start[0]), *self.start[cuts + 1].tolist()]
        ends = [*self.end[cuts].tolist(), int(self.end[-1])]
        return list(zip(starts, ends, strict=True))


def segments_of(intervals: Sequence[tuple[int, int]]) -> Segments:
    """Cut intervals ``(start, end)``, none of them empty, into disjoint segments."""
    starts = np.array([start for start, _ in intervals], dtype=np.int64)
    ends = np.array([end for _, end in intervals], dtype=np.int64)
    bounds = np.sort(np.concatenate([starts, ends]))
    bounds = bounds[np.append(True, bounds[1:] != bounds[:-1])] if len(bounds) else bounds
    weight = np.searchsorted(np.sort(starts), bounds, side="right")
    weight -= np.searchsorted(np.sort(ends), bounds, side="right")
    covered = np.flatnonzero(weight)
    start = bounds[covered]
    owner = _first_owners(starts, ends, start)
    return Segments(start, bounds[covered + 1], weight[covered], owner)


def _first_owners(
    starts: NDArray[np.int64], ends: NDArray[np.int64], places: NDArray[np.int64]
) -> NDArray[np.int64]:
    """The first interval that covers each place; places ascend, and every one is covered."""
    order = np.argsort(starts, kind="stable").tolist()
    begins, finishes = starts.tolist(), ends.tolist()
    alive: list[int] = []  # a heap of positions, those that have ended dropped late
    owners: list[int] = []
    begun = 0
    for place in places.tolist():
        while begun < len(order) and begins[order[begun]] <= place:
            heapq.heappush(alive, order[begun])
            begun += 1
        while finishes[alive[0]] <= place:
            heapq.heappop(alive)
        owners.append(alive[0])
    return np.array(owners, dtype=np.int64)
