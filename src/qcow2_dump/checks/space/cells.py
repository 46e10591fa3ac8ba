"""A map at any resolution: a long row of ranges, each of one kind, counted into a few cells."""

import numpy as np
from numpy.typing import NDArray

__all__ = ["Cells"]


class Cells:
    """``length`` units (bytes, clusters) cut into at most ``number`` cells of nearly one size.

    ``shares`` is int64[cells, kinds]: how many units of each cell are of each kind.
    ``damaged`` is bool[cells]: whether any of it is damaged, however little. ``bounds`` is
    int64[cells + 1]: cell ``i`` is made of the units ``bounds[i]`` to ``bounds[i + 1]``, not
    included. Every cell has at least one unit; there are fewer cells where there are fewer units.
    """

    def __init__(self, length: int, number: int, kinds: int) -> None:
        self.length = length
        cells = max(0, min(number, length))
        # Python's integers: the product may pass 64 bits.
        bounds = [length * i // cells for i in range(cells + 1)] if cells else [0]
        self.bounds = np.array(bounds, dtype=np.int64)
        self.shares = np.zeros((cells, kinds), dtype=np.int64)
        self.damaged = np.zeros(cells, dtype=np.bool_)

    def __len__(self) -> int:
        return len(self.damaged)

    def add(
        self, starts: NDArray[np.int64], ends: NDArray[np.int64], kinds: NDArray[np.integer]
    ) -> None:
        """Count ranges, ascending and without overlaps: ``starts`` to ``ends``, not included.

        Three arrays of one length; the kinds are columns of ``shares``. What lies outside of the
        map is left out. Ranges may come in any number of calls, each unit in one of them.
        """
        ends = np.minimum(ends, self.length)
        held = starts < ends
        starts, ends, kinds = starts[held], ends[held], kinds[held]
        if not len(starts) or not len(self):
            return
        first = int(np.searchsorted(self.bounds, starts[0], side="right")) - 1
        behind = int(np.searchsorted(self.bounds, ends[-1], side="left"))
        cuts = self.bounds[first : behind + 1]
        for kind in np.flatnonzero(np.bincount(kinds.astype(np.int64))).tolist():
            same = kinds == kind
            self.shares[first:behind, kind] += np.diff(_below(cuts, starts[same], ends[same]))

    def mark(self, starts: NDArray[np.int64], ends: NDArray[np.int64]) -> None:
        """Mark the cells that any of some ranges touches as damaged; in any order."""
        ends = np.minimum(ends, self.length)
        held = (starts < ends) & (ends > 0)
        if not len(self):
            return
        first = np.searchsorted(self.bounds, np.maximum(starts[held], 0), side="right") - 1
        behind = np.searchsorted(self.bounds, ends[held], side="left")
        change = np.zeros(len(self) + 1, dtype=np.int64)
        np.add.at(change, first, 1)
        np.add.at(change, behind, -1)
        self.damaged |= np.cumsum(change[:-1]) > 0


def _below(
    cuts: NDArray[np.int64], starts: NDArray[np.int64], ends: NDArray[np.int64]
) -> NDArray[np.int64]:
    """How many units of some ranges lie below each cut: int64[cuts]."""
    whole = np.append(0, np.cumsum(ends - starts))
    # The ranges that begin below the cut count in full, but for what of the last lies above it.
    begun = np.searchsorted(starts, cuts, side="left")
    last = np.maximum(begun - 1, 0)
    above = np.where(begun > 0, np.maximum(ends[last] - cuts, 0), 0)
    below: NDArray[np.int64] = whole[begun] - above
    return below
