"""What earlier changes by this program left in an image, as their undo files tell.

A repair takes away reasons for doubt: once a mapping is mended, nothing shows any more that some
leaked clusters might have belonged there. What was kept for that reason is remembered.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qcow2_dump.checks.bitset import BitSet

__all__ = ["NOTHING_KNOWN", "History", "merged_ranges"]

Ranges = tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class History:
    """Ranges of the file in bytes: ``(start, end)``.

    ``kept`` are leaked clusters that an earlier repair took for possible guest data, and
    ``replaced`` structures that an earlier change gave up.
    """

    kept: Ranges = ()
    replaced: Ranges = ()

    def kept_clusters(self, cluster_size: int, within: BitSet) -> BitSet:
        """The members of a set of host clusters that were kept."""
        return _within(self.kept, cluster_size, within)

    def replaced_clusters(self, cluster_size: int, within: BitSet) -> BitSet:
        """The members of a set of host clusters that were replaced."""
        return _within(self.replaced, cluster_size, within)


NOTHING_KNOWN = History()


def merged_ranges(clusters: NDArray[np.int64], cluster_size: int, most: int) -> Ranges:
    """Ascending host clusters (int64) as byte ranges: at most so many, the last one wide enough
    for all that are left."""
    if not len(clusters):
        return ()
    breaks = np.flatnonzero(np.diff(clusters) != 1) + 1
    starts = clusters[np.concatenate(([0], breaks))]
    ends = clusters[np.concatenate((breaks - 1, [len(clusters) - 1]))] + 1
    if len(starts) > most:
        starts, ends = starts[:most], np.append(ends[: most - 1], ends[-1])
    pairs = zip((starts * cluster_size).tolist(), (ends * cluster_size).tolist(), strict=True)
    return tuple(pairs)


def _within(ranges: Ranges, cluster_size: int, within: BitSet) -> BitSet:
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
