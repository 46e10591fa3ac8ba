"""Allocated and fragmented clusters of the active layer (format section 8.9)."""

import numpy as np
from numpy.typing import NDArray

from qcow2_dump.checks.facts import CheckFacts

__all__ = ["count_fragments"]


def count_fragments(
    facts: CheckFacts,
    chosen: NDArray[np.int64],
    counts: NDArray[np.int64],
    starts: NDArray[np.int64],
    ends: NDArray[np.int64],
) -> None:
    """Count the allocated clusters of active tables, and those that do not follow the one before.

    ``chosen`` are the tables (int64[rows]), ``counts`` how many runs of clusters each, or a part
    of it, maps (int64[rows]), ``starts`` and ``ends`` the host offsets where these begin and end,
    row by row (int64, bytes). A run may be a single cluster. A table may be counted in several
    parts, in order.
    """
    if not len(starts):
        return
    tables, statistics = facts.tables, facts.statistics
    row_of_head = np.flatnonzero(counts)
    behind = np.cumsum(counts)[row_of_head]
    heads = behind - counts[row_of_head]
    broken = np.empty(len(starts), dtype=np.bool_)
    np.not_equal(starts[1:], ends[:-1], out=broken[1:])
    # The first of a table continues what the last part left of that table, if anything.
    before = tables.next_host[chosen[row_of_head]]
    broken[heads] = (before != 0) & (starts[heads] != before)
    tables.next_host[chosen[row_of_head]] = ends[behind - 1]
    bits, active = facts.space.cluster_bits, tables.active[chosen]
    if int(active.min()) == int(active.max()) == 1:
        statistics.allocated_clusters += int((ends - starts).sum()) >> bits
        statistics.fragmented_clusters += int(np.count_nonzero(broken))
        return
    active = active[row_of_head]
    length = np.add.reduceat((ends - starts) >> bits, heads)
    statistics.allocated_clusters += int((length * active).sum())
    per_row = np.add.reduceat(broken.astype(np.int64), heads)
    statistics.fragmented_clusters += int((per_row * active).sum())
