"""Leaked clusters that earlier changes by this program left, as far as it is known."""

import numpy as np
from numpy.typing import NDArray

from qcow2_dump.checks.bitset import BitSet
from qcow2_dump.checks.stretches import stretches
from qcow2_dump.image.leftovers import Ranges

__all__ = ["clusters_within", "merged_ranges"]


def merged_ranges(clusters: NDArray[np.int64], cluster_size: int, most: int) -> Ranges:
    """Ascending host clusters (int64) as byte ranges: at most so many, the last one wide enough
    for all that are left."""
    starts, ends = stretches(clusters)
    if len(starts) > most:
        starts, ends = starts[:most], np.append(ends[: most - 1], ends[-1])
    pairs = zip((starts * cluster_size).tolist(), (ends * cluster_size).tolist(), strict=True)
    return tuple(pairs)


def clusters_within(ranges: Ranges, cluster_size: int, within: BitSet) -> BitSet:
    """The members of a set of host clusters that lie in some byte ranges."""
    found = BitSet(within.size)
    if not ranges:
        return found
    ordered = np.array(sorted(ranges), dtype=np.int64) // cluster_size
    starts = ordered[:, 0]
    # Ranges may overlap in a file that somebody made up: the furthest end so far counts.
    ends = np.maximum.accumulate(ordered[:, 1])
    for chunk in within.chunks():
        at = np.searchsorted(starts, chunk, side="right") - 1
        inside = (at >= 0) & (chunk < ends[np.maximum(at, 0)])
        found.add(chunk[inside])
    return found
