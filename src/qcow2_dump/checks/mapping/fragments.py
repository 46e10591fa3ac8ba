"""Allocated and fragmented clusters of the active layer (format section 8.9)."""

import numpy as np
from numpy.typing import NDArray

from qcow2_dump.checks.facts import CheckFacts

__all__ = ["count_fragments"]


def count_fragments(
    facts: CheckFacts,
    chosen: NDArray[np.int64],
    offsets: NDArray[np.uint64],
    held: NDArray[np.bool_] | None = None,
) -> None:
    """Count the allocated clusters of active tables, and those that do not follow the one before.

    ``chosen`` are the tables (int64[rows]), ``offsets`` the host offsets of their entries or of a
    part of them (uint64[rows, columns]), and ``held`` marks the allocated ones (bool, likewise),
    by default all whose offset is not 0. A table may be counted in several parts, in order.
    """
    tables, statistics = facts.tables, facts.statistics
    active = tables.active[chosen]
    counts = np.count_nonzero(offsets if held is None else held, axis=1)
    statistics.allocated_clusters += int((counts * active).sum())
    starts = (_not_zero(offsets) if held is None else offsets[held]).view(np.int64)
    if not len(starts):
        return
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


def _not_zero(offsets: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The offsets that are not 0, flat; without a copy when none is."""
    flat = offsets.reshape(-1)
    return flat if flat.all() else flat[flat != 0]
