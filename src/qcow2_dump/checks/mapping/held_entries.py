"""The entries of some tables that hold anything, without a copy where all of them do."""

from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

__all__ = ["HeldEntries", "count_held"]

# Shorter rows are counted together: a call for each costs more than it saves.
_LONG_ROW = 512


class HeldEntries(NamedTuple):
    """The host offsets (uint64) that are not 0, row by row.

    ``counts`` is their number in each row (int64), ``clusters`` the host clusters that they lie in
    (int64); ``positions`` are their places in the flattened rows (int64), None where every entry
    is held.
    """

    counts: NDArray[np.int64]
    offsets: NDArray[np.uint64]
    clusters: NDArray[np.int64]
    positions: NDArray[np.int64] | None

    @classmethod
    def of(cls, offsets: NDArray[np.uint64], counts: NDArray[np.int64], cluster_bits: int) -> Self:
        """Those of ``offsets``, uint64[rows, columns], whose ``counts`` are known."""
        held, positions = offsets.reshape(-1), None
        if int(counts.sum()) < len(held):
            positions = np.flatnonzero(held)
            held = held[positions]
        return cls(counts, held, (held >> np.uint64(cluster_bits)).view(np.int64), positions)

    def same_of(self, values: NDArray[np.uint64]) -> NDArray[np.uint64]:
        """What another array of the same rows has at these places: flat."""
        flat = values.reshape(-1)
        return flat if self.positions is None else flat[self.positions]

    def places(self, chosen: NDArray[np.int64]) -> NDArray[np.int64]:
        """The places in the flattened rows of some of these entries, by their numbers."""
        return chosen if self.positions is None else self.positions[chosen]


def count_held(values: NDArray[np.uint64]) -> NDArray[np.int64]:
    """How many values of each row are not 0: int64[rows]."""
    if values.shape[1] < _LONG_ROW:
        counts: NDArray[np.int64] = np.count_nonzero(values, axis=1)
        return counts
    # Row by row numpy takes half the time.
    return np.array([np.count_nonzero(row) for row in values], dtype=np.int64)
