"""Every L1 entry of every tree, read once however many trees share it (format section 8.3).

Snapshots may share an L1 table, and damaged ones may overlap in any way: the work is bounded by
the size of the file and not by the number of snapshots (`segments`).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qcow2_dump.checks.tables.nonzero_entries import read_nonzero
from qcow2_dump.checks.tables.segments import segments_of
from qcow2_dump.checks.trees import Tree
from qcow2_dump.storage.base import ByteSource

__all__ = ["L1Slots", "read_l1_slots"]


@dataclass(frozen=True, slots=True)
class L1Slots:
    """The L1 entries that are not zero, in file order; arrays of one length.

    ``place`` is the file offset of the entry in bytes (int64), ``raw`` the entry (uint64),
    ``weight`` the number of trees that hold it (int64), ``active`` whether the active layer does
    (bool), ``l1_index`` its index in the first of these trees (int64).
    """

    place: NDArray[np.int64]
    raw: NDArray[np.uint64]
    weight: NDArray[np.int64]
    active: NDArray[np.bool_]
    l1_index: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.raw)

    def of_tree(self, tree: Tree) -> slice:
        """The slots that lie in a tree's L1 table."""
        if not tree.usable:
            return slice(0, 0)
        start, end = np.searchsorted(self.place, [tree.l1_offset, tree.l1_end])
        return slice(int(start), int(end))


def read_l1_slots(source: ByteSource, trees: Sequence[Tree]) -> L1Slots:
    """Read the L1 tables of the usable trees. Raises SourceError when that fails."""
    usable = [tree for tree in trees if tree.usable and tree.l1_size]
    segments = segments_of([(tree.l1_offset, tree.l1_end) for tree in usable])
    parts = [part for run in segments.runs() for part in read_nonzero(source, *run)]
    place = np.concatenate([part[0] for part in parts] or [np.zeros(0, dtype=np.int64)])
    raw = np.concatenate([part[1] for part in parts] or [np.zeros(0, dtype=np.uint64)])
    at = segments.at(place)
    owner = segments.owner[at]
    starts = np.array([tree.l1_offset for tree in usable], dtype=np.int64)
    active = np.array([tree.is_active for tree in usable], dtype=np.bool_)
    # The active layer comes first, so wherever it is among the owners, it is the first.
    return L1Slots(
        place=place,
        raw=raw,
        weight=segments.weight[at],
        active=active[owner],
        l1_index=(place - starts[owner]) >> 3,
    )
