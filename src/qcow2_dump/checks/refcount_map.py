"""How many references each host cluster has, counted by walking, and which have several owners."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from qcow2_dump.checks.bitset import BitSet
from qcow2_dump.checks.pending_runs import PendingRuns

__all__ = ["RefcountMap", "any_counts"]

# Runs that may wait: so many in any case, and one for each 2**n clusters.
_FEWEST_PENDING = 1 << 12
_PENDING_BITS = 7

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
    comes later sees it, so every multiply-claimed cluster ends up in ``shared``. As long as all
    weights are 1 nobody needs to look: the counters tell it afterwards.
    """

    def __init__(self, size: int, bits: int = 8, *, first: int = 0, end: int | None = None) -> None:
        self.size = size
        self.bits = bits
        self.first = first
        self.end = size if end is None else end
        length = self.end - first
        self._is_window = length != size
        self._last_claimed = False
        self._all_single = True
        self._counts: NDArray[np.unsignedinteger] = np.zeros(length, dtype=f"u{bits // 8}")
        self._shared = BitSet(length)
        # Counting what waits costs as much as there are clusters: rarely, in little memory.
        self._pending = PendingRuns(bits, max(_FEWEST_PENDING, length >> _PENDING_BITS))
        self.compressed: BitSet | None = None
        self.total = 0

    @property
    def counts(self) -> NDArray[np.unsignedinteger]:
        """The counter of each cluster of the window, modulo 2**bits."""
        if self._pending:
            self._count_pending()
        return self._counts

    @property
    def shared(self) -> BitSet:
        """Which clusters of the window have several owners, by their place in it."""
        if self._pending:
            self._count_pending()
        self._watch()
        return self._shared

    def claim_runs(
        self,
        first: NDArray[np.int64],
        end: NDArray[np.int64],
        weights: NDArray[np.int64],
        owns: NDArray[np.int64],
    ) -> None:
        """Count a claim of each of some ranges: four arrays of one length, no range empty.

        They wait until there are many, or until somebody asks for what was counted.
        """
        if self._is_window:
            self._last_claimed |= bool((end == self.size).any())
            first = np.maximum(first, self.first) - self.first
            end = np.minimum(end, self.end) - self.first
            inside = first < end
            first, end, weights, owns = (a[inside] for a in (first, end, weights, owns))
        if not _all_ones(weights) or not _all_ones(owns):
            self._watch()
        self.total += int(((end - first) * weights).sum())
        self._pending.add(first, end, weights, owns)
        if self._pending.is_full:
            self._count_pending()

    def _count_pending(self) -> None:
        """Count the runs that wait."""
        for piece in self._pending.take(len(self._counts)):
            counts = self._counts[piece.first : piece.first + len(piece.claims)]
            counts += piece.weights
            if self._all_single:
                continue
            several = counts != piece.owns
            several &= piece.claims != 0
            several |= piece.claims > 1
            if several.any():
                self._shared.include(piece.first, several)

    def _watch(self) -> None:
        """From now on look for second owners at each claim; until now all weights were 1."""
        if not self._all_single:
            return
        self._all_single = False
        for start in range(0, len(self._counts) if self.total else 0, _PIECE):
            several = self._counts[start : start + _PIECE] > 1
            if several.any():
                self._shared.include(start, several)

    def claim(self, indices: NDArray[np.int64], weight: int, own: int) -> None:
        """Count one claim for each index (int64, below ``size``); indices may repeat."""
        if self._is_window:
            indices = indices[self._inside(indices)] - self.first
        if not weight == own == 1:
            self._watch()
        self.total += len(indices) * weight
        np.add.at(self._counts, indices, self._narrow(weight))
        if self._all_single:
            return
        other = self._counts[indices] != self._narrow(own)
        if other.any():
            self._shared.add(indices[other])

    def claim_each(
        self,
        indices: NDArray[np.int64],
        weights: NDArray[np.int64],
        owns: NDArray[np.int64],
    ) -> None:
        """Count claims of different weights: three arrays of one length."""
        if _all_ones(weights) and _all_ones(owns):
            self.claim(indices, 1, 1)
            return
        if self._is_window:
            inside = self._inside(indices)
            indices, weights, owns = indices[inside] - self.first, weights[inside], owns[inside]
        self._watch()
        self.total += int(weights.sum())
        np.add.at(self._counts, indices, weights.astype(self._counts.dtype))
        other = self._counts[indices] != owns.astype(self._counts.dtype)
        if other.any():
            self._shared.add(indices[other])

    def claim_compressed(self, indices: NDArray[np.int64], weights: NDArray[np.int64]) -> None:
        """Count claims of compressed streams, which may share clusters with each other only."""
        if self._is_window:
            inside = self._inside(indices)
            indices, weights = indices[inside] - self.first, weights[inside]
        if not len(indices):
            return
        self._watch()
        if self.compressed is None:
            self.compressed = BitSet(len(self._counts))
        other = (self._counts[indices] != 0) & ~self.compressed.contains(indices)
        if other.any():
            self._shared.add(indices[other])
        self.total += int(weights.sum())
        np.add.at(self._counts, indices, weights.astype(self._counts.dtype))
        self.compressed.add(indices)

    def _inside(self, indices: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Which of some clusters lie in the window; notes a claim of the last one of all."""
        self._last_claimed = self._last_claimed or bool((indices == self.size - 1).any())
        # What lies before the window becomes a large number.
        inside: NDArray[np.bool_] = (indices - self.first).view(np.uint64) < len(self._counts)
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
        # Single bytes are added up three times faster in four bytes than in eight.
        wide = np.uint32 if self.bits == 8 else np.uint64
        counts = self.counts
        for start in range(0, len(counts), _PIECE):
            piece = counts[start : start + _PIECE]
            # In a file full of holes nearly all counters are 0, which is seen sooner than summed.
            if any_counts(piece):
                yield int(piece.sum(dtype=wide))

    def _narrow(self, weight: int) -> np.unsignedinteger:
        # A scalar of the counters' own type: a bare int makes np.add.at ten times slower.
        scalar: np.unsignedinteger = self._counts.dtype.type(weight % (1 << self.bits))
        return scalar


def _all_ones(weights: NDArray[np.int64]) -> bool:
    return bool((weights == 1).all())


def any_counts(counts: NDArray[np.unsignedinteger]) -> bool:
    """Whether any counter (of a contiguous array) is not 0."""
    # As single bytes they are looked at many times faster than as numbers.
    return bool(counts.view(np.bool_).any())
