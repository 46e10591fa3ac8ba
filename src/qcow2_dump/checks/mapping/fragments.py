"""Allocated and fragmented clusters of the active layer (format section 8.9)."""

import numpy as np
from numpy.typing import NDArray

from qcow2_dump.checks.facts import CheckFacts

__all__ = ["count_fragments"]


def count_fragments(
    facts: CheckFacts,
    chosen: NDArray[np.int64],
    counts: NDArray[np.int64],
    offsets: NDArray[np.uint64],
) -> None:
    """Count the allocated clusters of active tables, and those that do not follow the one before.

    ``chosen`` are the tables (int64[rows]), ``counts`` how many entries of each, or of a part of
    it, are allocated (int64[rows]), and ``offsets`` the host offsets of these, row by row (uint64).
    A table may be counted in several parts, in order.
    """
    tables, statistics = facts.tables, facts.statistics
    active = tables.active[chosen]
    statistics.allocated_clusters += int((counts * active).sum())
    if not len(offsets):
        return
    starts = offsets.view(np.int64)
    row_of_head = np.flatnonzero(counts)
    ends = np.cumsum(counts)[row_of_head]
    heads = ends - counts[row_of_head]
    size = np.int64(facts.space.cluster_size)
    broken = np.empty(len(starts), dtype=np.bool_)
    np.not_equal(starts[1:] - starts[:-1], size, out=broken[1:])
    # The first of a table continues what the last part left of that table, if anything.
    before = tables.next_host[chosen[row_of_head]]
    broken[heads] = (before != 0) & (starts[heads] != before)
    tables.next_host[chosen[row_of_head]] = starts[ends - 1] + size
    if int(active.min()) == int(active.max()) == 1:
        statistics.fragmented_clusters += int(np.count_nonzero(broken))
        return
    per_row = np.add.reduceat(broken.astype(np.int64), heads)
    statistics.fragmented_clusters += int((per_row * active[row_of_head]).sum())
