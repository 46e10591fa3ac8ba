"""Claims of runs of clusters, gathered so that many are counted together.

A run of clusters adds its weight at its first cluster and takes it away behind its last one; one
cumulative sum over a stretch of the file makes numbers for each cluster of all its runs.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["PendingRuns", "SummedPiece"]

# Clusters summed together: a power of two, whose sums fit the processor's cache.
_PIECE_BITS = 17

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
        self._first: list[NDArray[np.uint32]] = []
        self._end: list[NDArray[np.uint32]] = []
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
            for start, (found,) in _summed(_Bounds(first), _Bounds(end), size):
                claims = found.astype(self._dtype, copy=False)
                yield SummedPiece(start, claims, claims * weights[0], owns[0])
            return
        begun, ended = _Bounds(first, weights, owns), _Bounds(end, weights, owns)
        for start, sums in _summed(begun, ended, size):
            yield SummedPiece(start, *(found.astype(self._dtype, copy=False) for found in sums))


class _Bounds:
    """Where runs begin, or where they end, in ascending order.

    ``clusters`` (uint32), and what each counts: 1, and further values that are given.
    """

    def __init__(self, clusters: NDArray[np.uint32], *values: _Counts) -> None:
        ones = np.ones(len(clusters), dtype=np.uint8)
        if values:
            order = np.argsort(clusters)
            self.clusters = clusters[order]
            self.values = [ones, *(value[order] for value in values)]
        else:
            self.clusters = np.sort(clusters)
            self.values = [ones]

    def cuts(self, places: NDArray[np.int64]) -> list[int]:
        """How many of them are before each of some clusters."""
        found: list[int] = np.searchsorted(self.clusters, places.astype(np.uint32)).tolist()
        return found


def _summed(begun: _Bounds, ended: _Bounds, size: int) -> Iterator[tuple[int, list[_Counts]]]:
    """For each piece that has any run: its first cluster, and the sum of each value."""
    pieces = -(-size >> _PIECE_BITS)
    edges = np.arange(pieces + 1) << _PIECE_BITS
    ups, downs = begun.cuts(edges), ended.cuts(edges)
    carried = [np.uint64(0)] * len(begun.values)
    for piece in range(pieces):
        if ups[piece] == ups[piece + 1] and not any(carried):
            continue
        start = piece << _PIECE_BITS
        length = min(1 << _PIECE_BITS, size - start)
        up, down = slice(*ups[piece : piece + 2]), slice(*downs[piece : piece + 2])
        begin = begun.clusters[up].astype(np.int64) - start
        end = ended.clusters[down].astype(np.int64) - start
        sums = [
            _sum_up(length, before, (begin, more[up]), (end, less[down]))
            for before, more, less in zip(carried, begun.values, ended.values, strict=True)
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
