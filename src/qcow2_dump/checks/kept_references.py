"""What a check asks of the counted references after the walk, and what answers it."""

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from qcow2_dump.checks.bitset import BitSet
from qcow2_dump.checks.refcount_map import RefcountMap

__all__ = ["CountedReferences", "KeptReferences"]

# Clusters looked at together.
_PIECE = 1 << 20


class CountedReferences(Protocol):
    """Answers about the references of ``size`` host clusters; indices are int64.

    ``shared`` are the clusters that may have several owners.
    """

    @property
    def size(self) -> int: ...

    @property
    def shared(self) -> BitSet: ...

    def unused(self, indices: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Which of some clusters have no reference: bool[n]."""

    def several(self, indices: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Which of some clusters have more than one reference: bool[n]."""

    def number(self, cluster: int) -> int:
        """The references of one cluster, which is among the first that are shared."""


class KeptReferences:
    """What is kept of the counts of one window when the next one is counted.

    Three bits for each cluster, and the counts of the first ``numbers`` shared clusters.
    ``last_claimed`` as in `RefcountMap`.
    """

    def __init__(self, size: int, numbers: int) -> None:
        self.size = size
        self.shared = BitSet(size)
        self.last_claimed = False
        self._used = BitSet(size)
        self._several = BitSet(size)
        self._room = numbers
        self._numbers: dict[int, int] = {}

    def keep(self, window: RefcountMap) -> None:
        """Keep what is needed of a window; windows come in ascending order."""
        self.last_claimed |= window.last_claimed
        for first in range(window.first, window.end, _PIECE):
            end = min(first + _PIECE, window.end)
            counts = window.between(first, end)
            if counts.any():
                self._used.store(first, counts != 0)
                self._several.store(first, counts > 1)
        for chunk in window.shared.chunks():
            self.shared.add(chunk + window.first)
        for at in window.shared.first(self._room - len(self._numbers)).tolist():
            self._numbers[window.first + at] = int(window.counts[at])

    def unused(self, indices: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Which of some clusters have no reference: bool[n]."""
        return ~self._used.contains(indices)

    def several(self, indices: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Which of some clusters have more than one reference: bool[n]."""
        return self._several.contains(indices)

    def number(self, cluster: int) -> int:
        """The references of one cluster, which is among the first that are shared."""
        return self._numbers[cluster]
