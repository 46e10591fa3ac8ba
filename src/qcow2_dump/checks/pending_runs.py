"""Claims of runs of clusters, gathered so that many are counted together.

A run of clusters adds its weight at its first cluster and takes it away behind its last one; one
cumulative sum over a stretch of the file makes numbers for each cluster of all its runs.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["PendingRuns", "SummedPiece"]

# Clusters summed together: a power of two, whose sums fit the processor's cache.
_PIECE_BITS = 18

_Counts = NDArray[np.unsignedinteger]


@dataclass(frozen=True, slots=True)
class SummedPiece:
    """What the runs add to the clusters from ``first`` on: unsigned arrays of one length.

    ``claims`` are the numbers of runs that hold each cluster, ``weights`` and ``owns`` the sums of
    their weights and own weights. All wrap silently.
    """

    first: int
    claims: _Counts
    weights: _Counts
    owns: _Counts


class PendingRuns:
    """Runs that wait to be counted, in counters of ``bits`` bits.

    ``room`` is the number of runs that may wait.
    """

    def __init__(self, bits: int, room: int) -> None:
        self._dtype = np.dtype(f"u{bits // 8}")
        self._room = room
        self._held = 0
        self._first: list[NDArray[np.int64]] = []
        self._end: list[NDArray[np.int64]] = []
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
        self._first.append(first)
        self._end.append(end)
        self._weights.append(weights.astype(self._dtype))
        self._owns.append(owns.astype(self._dtype))
        self._held += len(first)

    def take(self, size: int) -> Iterator[SummedPiece]:
        """Forget all runs and sum them up, for each stretch of ``size`` clusters that has any."""
        if not self:
            return
        first, end = np.concatenate(self._first), np.concatenate(self._end)
        values = [np.concatenate(self._weights), np.concatenate(self._owns)]
        for kept in (self._first, self._end, self._weights, self._owns):
            kept.clear()
        self._held = 0
        if (values[0] == values[1]).all():
            del values[1]
        values.insert(0, np.ones(len(first), dtype=self._dtype))
        pieces = -(-size >> _PIECE_BITS)
        begun, ended = _Places(first, pieces), _Places(end, pieces)
        carried = [self._dtype.type(0)] * len(values)
        for piece in range(pieces):
            ups, downs = begun.of(piece), ended.of(piece)
            if not len(ups) and not any(carried):
                continue
            start = piece << _PIECE_BITS
            steps = _Steps(
                min(1 << _PIECE_BITS, size - start), first[ups] - start, end[downs] - start
            )
            sums = [
                steps.sum_up(before, number[ups], number[downs])
                for number, before in zip(values, carried, strict=True)
            ]
            carried = [found[-1] for found in sums]
            yield SummedPiece(start, sums[0], sums[1], sums[-1])


class _Places:
    """Some clusters by the piece that they lie in."""

    def __init__(self, clusters: NDArray[np.int64], pieces: int) -> None:
        # Numbers of 16 bits are sorted several times faster; 2**31 clusters are 8,192 pieces.
        piece = (clusters >> _PIECE_BITS).astype(np.uint16)
        self._order = np.argsort(piece, kind="stable")
        self._bounds = np.searchsorted(piece[self._order], np.arange(pieces + 1)).tolist()

    def of(self, piece: int) -> NDArray[np.int64]:
        """The positions of those in a piece: int64."""
        return self._order[self._bounds[piece] : self._bounds[piece + 1]]


class _Steps(NamedTuple):
    """Where in a piece of ``length`` clusters runs begin and end (int64)."""

    length: int
    begin: NDArray[np.int64]
    end: NDArray[np.int64]

    def sum_up(self, before: np.unsignedinteger, begun: _Counts, ended: _Counts) -> _Counts:
        """The sum at each cluster: what was ``before``, and all runs that hold it."""
        # One more: a run may end with the last cluster of all.
        changes = np.zeros(self.length + 1, dtype=begun.dtype)
        changes[0] = before
        np.add.at(changes, self.begin, begun)
        np.subtract.at(changes, self.end, ended)
        sums: _Counts = np.add.accumulate(changes, out=changes)[: self.length]
        return sums
