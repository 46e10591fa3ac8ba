"""How many references each host cluster has, counted by walking, and which have several owners."""

import itertools
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from qcow2_dump.checks.bitset import BitSet

__all__ = ["RefcountMap", "any_counts"]

# Below this average length of ascending runs, adding run by run loses to adding one by one.
_WORTHWHILE_RUN = 512

# Clusters looked at together: what is made of them must not fill the memory.
_PIECE = 1 << 20


class RefcountMap:
    """Counted references of ``size`` host clusters, or of a window of them.

    A window goes from ``first`` to ``end``, not included: claims of other clusters are dropped.
    ``counts`` and ``shared`` begin at ``first``; indices that are given are those of the file.

    Nearly all counts are small, so counters are narrow and wrap silently; ``overflowed`` tells
    afterwards whether any did, and the count must then be repeated with ``bits`` doubled.

    A claim has a *weight*, the references that it stands for (a table shared by the active layer
    and three snapshots weighs 4), and an *own* weight, what the counter shows when nobody else
    claims the cluster. A different value right after counting means a second owner; whoever
    comes later sees it, so every multiply-claimed cluster ends up in ``shared``.
    """

    def __init__(self, size: int, bits: int = 8, *, first: int = 0, end: int | None = None) -> None:
        self.size = size
        self.bits = bits
        self.first = first
        self.end = size if end is None else end
        length = self.end - first
        self._is_window = length != size
        self._last_claimed = False
        self.counts: NDArray[np.unsignedinteger] = np.zeros(length, dtype=f"u{bits // 8}")
        self.shared = BitSet(length)
        self.compressed: BitSet | None = None
        self.total = 0

    def claim_range(self, first: int, end: int, weight: int = 1, own: int = 1) -> None:
        """Count a claim of the clusters ``first`` to ``end``, not included."""
        if self._is_window:
            self._last_claimed |= first < end == self.size
            first, end = max(first, self.first) - self.first, min(end, self.end) - self.first
        if first < end:
            self._add_range(first, end, weight, own)

    def _add_range(self, first: int, end: int, weight: int, own: int) -> None:
        """Count a claim of a range that begins and ends inside, at positions in ``counts``."""
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
        if self._is_window:
            indices = indices[self._inside(indices)] - self.first
        if not len(indices):
            return
        starts = np.flatnonzero(indices[1:] - indices[:-1] != 1) + 1
        if len(indices) >= (len(starts) + 1) * _WORTHWHILE_RUN:
            bounds = [0, *starts.tolist(), len(indices)]
            for start, end in itertools.pairwise(bounds):
                first = int(indices[start])
                self._add_range(first, first + end - start, weight, own)
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
        if self._is_window:
            inside = self._inside(indices)
            indices, weights, owns = indices[inside] - self.first, weights[inside], owns[inside]
        self.total += int(weights.sum())
        np.add.at(self.counts, indices, weights.astype(self.counts.dtype))
        other = self.counts[indices] != owns.astype(self.counts.dtype)
        if other.any():
            self.shared.add(indices[other])

    def claim_compressed(self, indices: NDArray[np.int64], weights: NDArray[np.int64]) -> None:
        """Count claims of compressed streams, which may share clusters with each other only."""
        if self._is_window:
            inside = self._inside(indices)
            indices, weights = indices[inside] - self.first, weights[inside]
        if not len(indices):
            return
        if self.compressed is None:
            self.compressed = BitSet(len(self.counts))
        other = (self.counts[indices] != 0) & ~self.compressed.contains(indices)
        if other.any():
            self.shared.add(indices[other])
        self.total += int(weights.sum())
        np.add.at(self.counts, indices, weights.astype(self.counts.dtype))
        self.compressed.add(indices)

    def _inside(self, indices: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Which of some clusters lie in the window; notes a claim of the last one of all."""
        self._last_claimed = self._last_claimed or bool((indices == self.size - 1).any())
        # What lies before the window becomes a large number.
        inside: NDArray[np.bool_] = (indices - self.first).view(np.uint64) < len(self.counts)
        return inside

    @property
    def last_claimed(self) -> bool:
        """Whether anything claims the last of all clusters, in the window or not."""
        return self._last_claimed if self._is_window else bool(self.counts[-1] != 0)

    def between(self, first: int, end: int) -> NDArray[np.unsignedinteger]:
        """The counts of the clusters ``first`` to ``end``, not included, which lie inside."""
        return self.counts[first - self.first : end - self.first]

    def unused(self, indices: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Which of some clusters inside have no reference: bool[n]."""
        flags: NDArray[np.bool_] = self.counts[indices - self.first] == 0
        return flags

    def several(self, indices: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Which of some clusters inside have more than one reference: bool[n]."""
        flags: NDArray[np.bool_] = self.counts[indices - self.first] > 1
        return flags

    def number(self, cluster: int) -> int:
        """The references of one cluster inside."""
        return int(self.counts[cluster - self.first])

    @property
    def overflowed(self) -> bool:
        """Whether any counter wrapped: the counts do not add up to the claims."""
        return sum(self._sums()) != self.total

    def _sums(self) -> Iterator[int]:
        for start in range(0, len(self.counts), _PIECE):
            piece = self.counts[start : start + _PIECE]
            # In a file full of holes nearly all counters are 0, which is seen sooner than summed.
            if any_counts(piece):
                yield int(piece.sum(dtype=np.uint64))

    def _narrow(self, weight: int) -> np.unsignedinteger:
        # A scalar of the counters' own type: a bare int makes np.add.at ten times slower.
        scalar: np.unsignedinteger = self.counts.dtype.type(weight % (1 << self.bits))
        return scalar


def any_counts(counts: NDArray[np.unsignedinteger]) -> bool:
    """Whether any counter (of a contiguous array) is not 0."""
    # As single bytes they are looked at many times faster than as numbers.
    return bool(counts.view(np.bool_).any())
