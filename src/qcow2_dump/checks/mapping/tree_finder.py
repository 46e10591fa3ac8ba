"""Which trees have their L1 entry at a place of the file."""

from collections.abc import Sequence

import numpy as np

from qcow2_dump.checks.trees import LISTED_TREES, Tree

__all__ = ["TreeFinder"]


class TreeFinder:
    """Finds the trees whose L1 tables cover a file offset.

    What was found once is remembered for the whole stretch that the same trees cover.
    """

    def __init__(self, trees: Sequence[Tree]) -> None:
        usable = [tree for tree in trees if tree.usable]
        self._labels = [tree.label for tree in usable]
        self._starts = np.array([tree.l1_offset for tree in usable], dtype=np.int64)
        self._ends = np.array([tree.l1_end for tree in usable], dtype=np.int64)
        self._bounds = np.sort(np.concatenate([self._starts, self._ends]))
        self._known: dict[int, tuple[str, ...]] = {}

    def labels_at(self, place: int) -> tuple[str, ...]:
        """The labels of the first `LISTED_TREES` trees that use a file offset, in bytes."""
        stretch = int(np.searchsorted(self._bounds, place, side="right"))
        known = self._known.get(stretch)
        if known is None:
            users = np.flatnonzero((self._starts <= place) & (place < self._ends))
            known = tuple(self._labels[at] for at in users[:LISTED_TREES].tolist())
            self._known[stretch] = known
        return known
