"""How many references each host cluster has, counted by walking, and which have several owners."""

import itertools
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from qcow2_dump.checks.bitset import BitSet

__all__ = ["RefcountMap"]

# Below this average length of ascending runs, adding run by run loses to adding one by one.
_WORTHWHILE_RUN = 512

# Clusters looked at together: what is made of them must not fill the memory.
_PIECE = 1 << 20


class RefcountMap:
    """Counted references of ``size`` host clusters.

    Nearly all counts are small, so counters are narrow and wrap silently; ``overflowed`` tells
    afterwards whether any did, and the count must then be repeated with ``bits`` doubled.

    A claim has a *weight*, the references that it stands for (a table shared by the active layer
    and three snapshots weighs 4), and an *own* weight, what the counter shows when nobody else
    claims the cluster. A different value right after counting means a second owner; whoever
    comes later sees it, so every multiply-claimed cluster ends up in ``shared``.
    """

    def __init__(self, size: int, bits: int = 8) -> None:
        self.size = size
        self.bits = bits
        self.counts: NDArray[np.unsignedinteger] = np.zeros(size, dtype=f"u{bits // 8}")
        self.shared = BitSet(size)
        self.compressed: BitSet | None = None
        self.total = 0

    def claim_range(self, first: int, end: int, weight: int = 1, own: int = 1) -> None:
        """Count a claim of the clusters ``first`` to ``end``, not included."""
        self.total += (end - first) * weight
        for start in range(first, end, _PIECE):
            piece = self.counts[start : min(start + _PIECE, end)]
            piece += self._narrow(weight)
            other = piece != self._narrow(own)
            if other.any():
                self.shared.add(np.flatnonzero(other) + start)

    def claim_ranges(
        self, first: NDArray[np.int64], end: NDArray[np.int64], weights: NDArray[np.int64]
    ) -> None:
        """Count claims of disjoint, ascending ranges, each cluster of which one claim owns."""
        lengths = end - first
        long = lengths >= _WORTHWHILE_RUN
        for at in np.flatnonzero(long).tolist():
            self.claim_range(int(first[at]), int(end[at]), int(weights[at]))
        first, lengths, weights = first[~long], lengths[~long], weights[~long]
        step = _PIECE // _WORTHWHILE_RUN
        for start in range(0, len(first), step):
            chosen = slice(start, start + step)
            number = lengths[chosen]
            # 0, 1, 2 ... counted anew from the first cluster of each range.
            within = np.arange(int(number.sum())) - np.repeat(np.cumsum(number) - number, number)
            weight = np.repeat(weights[chosen], number)
            self.claim_each(np.repeat(first[chosen], number) + within, weight, np.ones_like(weight))

    def claim(self, indices: NDArray[np.int64], weight: int, own: int) -> None:
        """Count one claim for each index (int64, below ``size``); indices may repeat."""
        if not len(indices):
            return
        starts = np.flatnonzero(indices[1:] - indices[:-1] != 1) + 1
        if len(indices) >= (len(starts) + 1) * _WORTHWHILE_RUN:
            bounds = [0, *starts.tolist(), len(indices)]
            for start, end in itertools.pairwise(bounds):
                first = int(indices[start])
                self.claim_range(first, first + end - start, weight, own)
            return
        self.total += len(indices) * weight
        np.add.at(self.counts, indices, self._narrow(weight))
        other = self.counts[indices] != self._narrow(own)
        if other.any():
            self.shared.add(indices[other])

    def claim_each(
        self,
        indices: NDArray[np.int64],
        weights: NDArray[np.int64],
        owns: NDArray[np.int64],
    ) -> None:
        """Count claims of different weights: three arrays of one length."""
        self.total += int(weights.sum())
        np.add.at(self.counts, indices, weights.astype(self.counts.dtype))
        other = self.counts[indices] != owns.astype(self.counts.dtype)
        if other.any():
            self.shared.add(indices[other])

    def claim_compressed(self, indices: NDArray[np.int64], weights: NDArray[np.int64]) -> None:
        """Count claims of compressed streams, which may share clusters with each other only."""
        if not len(indices):
            return
        if self.compressed is None:
            self.compressed = BitSet(self.size)
        other = (self.counts[indices] != 0) & ~self.compressed.contains(indices)
        if other.any():
            self.shared.add(indices[other])
        self.total += int(weights.sum())
        np.add.at(self.counts, indices, weights.astype(self.counts.dtype))
        self.compressed.add(indices)

    @property
    def overflowed(self) -> bool:
        """Whether any counter wrapped: the counts do not add up to the claims."""
        return sum(self._sums()) != self.total

    def _sums(self) -> Iterator[int]:
        for start in range(0, self.size, _PIECE):
            piece = self.counts[start : start + _PIECE]
            # In a file full of holes nearly all counters are 0, which is seen sooner than summed.
            if piece.view(np.bool_).any():
                yield int(piece.sum(dtype=np.uint64))

    def _narrow(self, weight: int) -> np.unsignedinteger:
        # A scalar of the counters' own type: a bare int makes np.add.at ten times slower.
        scalar: np.unsignedinteger = self.counts.dtype.type(weight % (1 << self.bits))
        return scalar
