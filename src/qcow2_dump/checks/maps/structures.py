"""Where the metadata of an image lies, for whoever points at a place in the file."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qcow2_dump.checks.facts import CheckFacts, Region

__all__ = ["Structures", "find_structures"]

# Each has a name of its own, which takes more room than numbers do.
_MOST_REGIONS = 2000


@dataclass(frozen=True, slots=True)
class Structures:
    """The metadata inside the file.

    ``regions`` are the structures of which there are few, by offset. L2 tables and refcount
    blocks are int64 arrays, None where there are too many to list. Of each L2 table, by offset:
    where it lies (bytes), the first L1 index that leads there, and how many L1 entries do, of the
    active layer and in all. Of each refcount block, by offset: where it lies, and its index.
    """

    regions: tuple[Region, ...]
    l2_offset: NDArray[np.int64] | None
    l2_index: NDArray[np.int64] | None
    l2_active: NDArray[np.int64] | None
    l2_weight: NDArray[np.int64] | None
    block_offset: NDArray[np.int64] | None
    block_index: NDArray[np.int64] | None


def find_structures(facts: CheckFacts, most: int) -> Structures:
    """What a finished check knows of the places of metadata; at most so many of each sort.

    Of regions at most 2000.
    """
    tables, end = facts.tables, facts.space.end
    chosen = np.flatnonzero(tables.offset < end)
    listed = len(chosen) <= most
    blocks = np.flatnonzero(facts.claimed_blocks)
    offsets = facts.stored.offsets[blocks].astype(np.int64)
    order = np.argsort(offsets, kind="stable")
    blocks_listed = len(order) <= most
    inside = {(r.kind, r.offset, r.tree): r for r in facts.regions if r.offset < end}
    regions = sorted(inside.values(), key=lambda region: (region.offset, region.length))
    return Structures(
        regions=tuple(regions[:_MOST_REGIONS]),
        l2_offset=tables.offset[chosen] if listed else None,
        l2_index=tables.l1_index[chosen] if listed else None,
        l2_active=tables.active[chosen] if listed else None,
        l2_weight=tables.weight[chosen] if listed else None,
        block_offset=offsets[order] if blocks_listed else None,
        block_index=blocks[order] if blocks_listed else None,
    )
