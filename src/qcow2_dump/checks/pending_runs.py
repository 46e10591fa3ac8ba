"""Claims of runs of clusters, gathered so that many are counted together.

A run of clusters adds its weight at its first cluster and takes it away behind its last one; one
cumulative sum over a stretch of the file makes numbers for each cluster of all its runs.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

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
        values: list[_Counts | None] = [None]
        if (weights != weights[0]).any() or (owns != owns[0]).any():
            values += [weights, owns]
        for start, sums in _summed(first, end, values, size):
            claims, *others = (found.astype(self._dtype, copy=False) for found in sums)
            if others:
                yield SummedPiece(start, claims, others[0], others[1])
            else:
                yield SummedPiece(start, claims, claims * weights[0], owns[0])


def _summed(
    first: NDArray[np.uint32],
    end: NDArray[np.uint32],
    values: Sequence[_Counts | None],
    size: int,
) -> Iterator[tuple[int, list[_Counts]]]:
    """For each piece that has any run: its first cluster, and the sums of the runs' values.

    No values stand for a 1 for each run.
    """
    pieces = -(-size >> _PIECE_BITS)
    begun, ended = _Places(first, pieces), _Places(end, pieces)
    carried = [np.uint64(0)] * len(values)
    for piece in range(pieces):
        ups, downs = begun.of(piece), ended.of(piece)
        if not len(ups) and not any(carried):
            continue
        start = piece << _PIECE_BITS
        steps = _Steps(
            min(1 << _PIECE_BITS, size - start),
            first[ups].astype(np.int64) - start,
            end[downs].astype(np.int64) - start,
        )
        sums = [
            steps.sum_up(before, None if number is None else (number[ups], number[downs]))
            for number, before in zip(values, carried, strict=True)
        ]
        carried = [found[-1] for found in sums]
        yield start, sums


class _Places:
    """Some clusters by the piece that they lie in."""

    def __init__(self, clusters: NDArray[np.uint32], pieces: int) -> None:
        # Numbers of 16 bits are sorted several times faster; 2**31 clusters are 16,384 pieces.
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

    def sum_up(self, before: np.unsignedinteger, values: tuple[_Counts, _Counts] | None) -> _Counts:
        """The sum at each cluster: what was ``before``, and all runs that hold it.

        ``values`` are those of the runs that begin, and of those that end; None for ones.
        """
        # numpy sums numbers of four bytes or more many times faster than single bytes.
        width = 4 if values is None else max(4, values[0].itemsize)
        # One more: a run may end with the last cluster of all.
        changes = np.zeros(self.length + 1, dtype=f"u{width}")
        one = changes.dtype.type(1)
        begun, ended = (one, one) if values is None else (a.astype(changes.dtype) for a in values)
        changes[0] = before
        np.add.at(changes, self.begin, begun)
        np.subtract.at(changes, self.end, ended)
        sums: _Counts = np.add.accumulate(changes, out=changes)[: self.length]
        return sums
