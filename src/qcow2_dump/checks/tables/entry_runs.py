"""L2 entries in runs: where the host clusters of a guest range lie in one piece (format 3.3).

Most tables map long guest ranges to host clusters in a row. What holds of the first entry of such
a run holds of all of it, so that it need not be looked at entry by entry.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["EntryRuns", "entry_runs"]

# Where runs are shorter on average, there is nothing to be gained.
_WORTHWHILE_RUN = 4

# So many entries tell whether the batch is worth a try.
_SAMPLE = 1 << 10


@dataclass(frozen=True, slots=True)
class EntryRuns:
    """Runs of entries that are not 0; arrays of one length, in the order of the tables.

    ``row`` is the table's place in the batch and ``column`` that of the first entry in the table's
    part (int64), ``length`` the number of entries (int64), ``raw`` the first of them (uint64);
    each of the others is by one cluster more than the one before.
    """

    row: NDArray[np.int64]
    column: NDArray[np.int64]
    length: NDArray[np.int64]
    raw: NDArray[np.uint64]


def entry_runs(entries: NDArray[np.uint64], cluster_size: int) -> EntryRuns | None:
    """The runs of some tables, uint64[rows, columns]; None where they are short or odd."""
    flat, columns = entries.reshape(-1), entries.shape[1]
    sample = flat[:_SAMPLE]
    if _are_short(_run_starts(sample, cluster_size, columns), sample):
        return None
    starts = _run_starts(flat, cluster_size, columns)
    if _are_short(starts, flat):
        return None
    raw = flat.take(starts)
    length = np.diff(starts, append=len(flat))
    is_held = raw != 0
    if not is_held.all():
        empty = np.flatnonzero(~is_held)
        if flat.take(starts.take(empty) + length.take(empty) - 1).any():
            return None  # by one cluster more than "nowhere" is the cluster of the header
        held = np.flatnonzero(is_held)
        starts, raw, length = starts.take(held), raw.take(held), length.take(held)
    # A table has 2**n entries, and so have its parts.
    return EntryRuns(starts >> columns.bit_length() - 1, starts & columns - 1, length, raw)


def _run_starts(flat: NDArray[np.uint64], cluster_size: int, columns: int) -> NDArray[np.int64]:
    """Where runs begin, those of zeros too; a table is always the beginning of one."""
    broken = np.empty(len(flat), dtype=np.bool_)
    np.not_equal(flat[1:] - flat[:-1], np.uint64(cluster_size), out=broken[1:])
    broken[::columns] = True
    starts = np.flatnonzero(broken)
    if _are_short(starts, flat):
        # Perhaps these are the zeros of a table that is nearly empty.
        starts = starts[(starts & columns - 1 == 0) | ((flat[starts] | flat[starts - 1]) != 0)]
    return starts


def _are_short(starts: NDArray[np.int64], entries: NDArray[np.uint64]) -> bool:
    return len(starts) * _WORTHWHILE_RUN > len(entries)
