"""Claims of runs of clusters, gathered so that many are counted together.

Runs without a cluster in common, which is nearly always so, become numbers for each cluster by
repeating what they weigh. Where some overlap, a run adds its weight at its first cluster and takes
it away behind its last one, and a cumulative sum makes the numbers.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["PendingRuns", "SummedPiece"]

# Clusters summed together: enough to hide what a call costs, in little memory.
_PIECE_BITS = 19

_Clusters = NDArray[np.uint32]
_Counts = NDArray[np.unsignedinteger]


@dataclass(frozen=True, slots=True)
class SummedPiece:
    """What the runs add to the clusters from ``first`` on: unsigned arrays of one length.

    ``claims`` are the numbers of runs that hold each cluster, ``weights`` and ``owns`` the sums of
    their weights and own weights; ``owns`` is a single number where that is the own weight of every
    run. All wrap silently.
    """

    first: int
    claims: _Counts
    weights: _Counts
    owns: _Counts | np.unsignedinteger


class PendingRuns:
    """Runs that wait to be counted, in counters of ``bits`` bits.

    ``room`` is the number of runs that may wait.
    """

    def __init__(self, bits: int, room: int) -> None:
        self._dtype = np.dtype(f"u{bits // 8}")
        self._room = room
        self._held = 0
        # No more than 2**31 clusters have numbers.
        self._first: list[_Clusters] = []
        self._end: list[_Clusters] = []
        self._weights: list[_Counts] = []
        self._owns: list[_Counts] = []

    def __bool__(self) -> bool:
        return self._held > 0

    @property
    def is_full(self) -> bool:
        """Whether no more runs should be added before all are summed up."""
        return self._held >= self._room

    def add(
        self,
        first: NDArray[np.int64],
        end: NDArray[np.int64],
        weights: NDArray[np.int64],
        owns: NDArray[np.int64],
    ) -> None:
        """Keep the runs of the clusters ``first`` to ``end``, not included: four int64 arrays."""
        self._first.append(first.astype(np.uint32))
        self._end.append(end.astype(np.uint32))
        self._weights.append(weights.astype(self._dtype))
        self._owns.append(owns.astype(self._dtype))
        self._held += len(first)

    def take(self, size: int) -> Iterator[SummedPiece]:
        """Forget all runs and sum them up, for each stretch of ``size`` clusters that has any."""
        if not self:
            return
        first, end = np.concatenate(self._first), np.concatenate(self._end)
        weights, owns = np.concatenate(self._weights), np.concatenate(self._owns)
        for kept in (self._first, self._end, self._weights, self._owns):
            kept.clear()
        self._held = 0
        if (weights == weights[0]).all() and (owns == owns[0]).all():
            for start, (found,) in _summed(first, end, [], size):
                claims = found.astype(self._dtype, copy=False)
                summed = claims if weights[0] == 1 else claims * weights[0]
                yield SummedPiece(start, claims, summed, owns[0])
            return
        for start, sums in _summed(first, end, [weights, owns], size):
            yield SummedPiece(start, *(found.astype(self._dtype, copy=False) for found in sums))


def _summed(
    first: _Clusters, end: _Clusters, values: list[_Counts], size: int
) -> Iterator[tuple[int, list[_Counts]]]:
    """For each piece that has any run: its first cluster, the number of runs at each cluster of
    it, and the sums there of each of some values that the runs have."""
    ones = np.ones(len(first), dtype=np.uint8)
    if values:
        order = np.argsort(first)
        first, end, values = first[order], end[order], [value[order] for value in values]
    else:
        first, end = np.sort(first), np.sort(end)
    if (first[1:] >= end[:-1]).all():
        return _repeated(first, end, [ones, *values], size)
    return _accumulated(first, end, [ones, *values], size)


def _pieces(size: int, *places: _Clusters) -> Iterator[tuple[int, int, list[slice]]]:
    """Each piece's first cluster and length, and which of some ascending places are in it."""
    edges = np.arange(-(-size >> _PIECE_BITS) + 1, dtype=np.uint32) << _PIECE_BITS
    cuts = [np.searchsorted(held, edges).tolist() for held in places]
    for piece, start in enumerate(edges[:-1].tolist()):
        chosen = [slice(cut[piece], cut[piece + 1]) for cut in cuts]
        yield start, min(1 << _PIECE_BITS, size - start), chosen


def _repeated(
    first: _Clusters, end: _Clusters, values: list[_Counts], size: int
) -> Iterator[tuple[int, list[_Counts]]]:
    """What `_summed` gives, of ascending runs without a cluster in common."""
    edges = np.column_stack([first, end]).reshape(-1)
    steps = []
    for value in values:
        # Nothing up to the first edge, and behind each run.
        step = np.zeros(len(edges) + 1, dtype=value.dtype)
        step[1::2] = value
        steps.append(step)
    for start, length, (inside,) in _pieces(size, edges):
        if inside.start == inside.stop and inside.start % 2 == 0:
            continue
        places = np.empty(inside.stop - inside.start + 2, dtype=np.int64)
        places[0], places[-1] = 0, length
        np.subtract(edges[inside], start, out=places[1:-1])
        lengths = places[1:] - places[:-1]
        around = slice(inside.start, inside.stop + 1)
        yield start, [np.repeat(step[around], lengths) for step in steps]


def _accumulated(
    first: _Clusters, end: _Clusters, values: list[_Counts], size: int
) -> Iterator[tuple[int, list[_Counts]]]:
    """What `_summed` gives, of runs that overlap: ascending, if only by their first clusters."""
    order = np.argsort(end)
    end, ended = end[order], [value[order] for value in values]
    carried = [np.uint64(0)] * len(values)
    for start, length, (ups, downs) in _pieces(size, first, end):
        if ups.start == ups.stop and not any(carried):
            continue
        begin = first[ups].astype(np.int64) - start
        behind = end[downs].astype(np.int64) - start
        sums = [
            _sum_up(length, before, (begin, more[ups]), (behind, less[downs]))
            for before, more, less in zip(carried, values, ended, strict=True)
        ]
        carried = [found[-1] for found in sums]
        yield start, sums


def _sum_up(
    length: int,
    before: np.unsignedinteger,
    more: tuple[NDArray[np.int64], _Counts],
    less: tuple[NDArray[np.int64], _Counts],
) -> _Counts:
    """A value at each of ``length`` clusters: what was ``before``, and from where it changes."""
    # numpy sums numbers of four bytes or more many times faster than single bytes.
    dtype = np.dtype(f"u{max(4, more[1].itemsize)}")
    # One more: a run may end with the last cluster of all.
    changes = np.zeros(length + 1, dtype=dtype)
    changes[0] = before
    np.add.at(changes, more[0], more[1].astype(dtype))
    np.subtract.at(changes, less[0], less[1].astype(dtype))
    sums: _Counts = np.add.accumulate(changes, out=changes)[:length]
    return sums
