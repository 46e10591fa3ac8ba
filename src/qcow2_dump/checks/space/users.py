"""Who may use a cluster, as small numbers: one code for each combination that occurs.

A combination is a mask: the low bits say what for (`Use`), the bits above which trees, the active
layer first. A file has millions of clusters and few combinations, so that a cluster needs no more
than a code of one or two bytes, and everything about its users can still be told.
"""

from collections.abc import Iterable
from enum import IntFlag

import numpy as np
from numpy.typing import NDArray

__all__ = ["NOBODY", "Use", "Users", "tree_bit", "trees_in"]

NOBODY = 0
"""The code of clusters that nobody uses."""

# Each costs some two hundred bytes; above these there is room for all masks with `Use.CROWD`.
_MOST_CODES = 1 << 18
# All masks together: with thousands of snapshots each one takes a kilobyte.
_MOST_BITS = 1 << 29
_FEWEST_CODES = 1 << 12
# What each tree needs for itself: its L1 table, its L2 tables, data, VM state.
_CODES_OF_A_TREE = 4


class Use(IntFlag):
    """What a cluster is used for; masks are plain integers, with which counting is quicker.

    ``VM_STATE`` marks data that lies behind a disk. ``CROWD`` stands for trees that are not named,
    because there are too many combinations; the active layer is always named.
    """

    HEADER = 1 << 0
    SNAPSHOT_TABLE = 1 << 1
    L1 = 1 << 2
    L2 = 1 << 3
    REFCOUNT_TABLE = 1 << 4
    REFCOUNT_BLOCK = 1 << 5
    LUKS = 1 << 6
    BITMAPS = 1 << 7
    DATA = 1 << 8
    COMPRESSED = 1 << 9
    VM_STATE = 1 << 10
    CROWD = 1 << 11


_TREES = 12
_USES = (1 << _TREES) - 1
_CROWD = int(Use.CROWD)


def tree_bit(tree: int) -> int:
    """The bit of the tree at a position of `trees_of`, 0 for the active layer."""
    return 1 << (_TREES + tree)


def trees_in(mask: int) -> int:
    """The trees of a mask, bit 0 for the active layer."""
    return mask >> _TREES


class Users:
    """The combinations that occur: ``masks[code]``; code 0 is nobody.

    ``crowded`` says that some were too many to be told apart (`Use.CROWD`); masks of
    one tree are, as long as there are fewer than some thousand trees.
    """

    def __init__(self, trees: int) -> None:
        self.masks = [0]
        self.crowded = False
        self._codes = {0: NOBODY}
        most = min(_MOST_CODES, max(_FEWEST_CODES, _MOST_BITS // (trees + _TREES)))
        kept = min(most * 3 // 4, max(most // 4, _CODES_OF_A_TREE * trees))
        # Single trees matter most, pairs are asked for next.
        self._limits = (most, most, most - kept // 2, most - kept)
        self._active = tree_bit(0)

    def code(self, mask: int) -> int:
        """The code of a mask."""
        mask = int(mask)
        known = self._codes.get(mask)
        if known is not None:
            return known
        if not self._has_room_for(mask):
            self.crowded = True
            mask = mask & _USES | mask & self._active | _CROWD
            known = self._codes.get(mask)
            if known is not None:
                return known
        self._codes[mask] = len(self.masks)
        self.masks.append(mask)
        return len(self.masks) - 1

    def codes(self, masks: Iterable[int]) -> NDArray[np.int64]:
        """The codes of some masks: int64."""
        return np.array([self.code(mask) for mask in masks], dtype=np.int64)

    def join(self, first: NDArray[np.int64], second: NDArray[np.int64]) -> NDArray[np.int64]:
        """The codes of both users of each pair together: int64, three arrays of one length."""
        pairs = (first << 32) | second
        distinct, which = np.unique(pairs, return_inverse=True)
        masks = self.masks
        joined = [self.code(masks[p >> 32] | masks[p & 0xFFFF_FFFF]) for p in distinct.tolist()]
        return np.array(joined, dtype=np.int64)[which]

    def join_runs(self, codes: NDArray[np.int64], starts: NDArray[np.int64]) -> NDArray[np.int64]:
        """Join the codes of each run: those from one of the ``starts`` to the next, none empty."""
        while len(codes) > len(starts):
            lengths = np.diff(np.append(starts, len(codes)))
            within = np.arange(len(codes)) - np.repeat(starts, lengths)
            kept = np.flatnonzero(within % 2 == 0)
            partner = kept + 1
            paired = np.flatnonzero(
                (within[np.minimum(partner, len(codes) - 1)] % 2 == 1) & (partner < len(codes))
            )
            joined = codes[kept]
            joined[paired] = self.join(codes[kept[paired]], codes[partner[paired]])
            codes = joined
            halves = (lengths + 1) // 2
            starts = np.cumsum(halves) - halves
        return codes

    def _has_room_for(self, mask: int) -> bool:
        crowd = bool(mask & _CROWD)
        return crowd or len(self.masks) < self._limits[min(3, trees_in(mask).bit_count())]
