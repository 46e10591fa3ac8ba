"""The file from its start to its end: what each part of it is used for."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qcow2_dump.checks.bitset import BitSet
from qcow2_dump.checks.maps.guest_map import GuestClass
from qcow2_dump.checks.maps.runs import DAMAGED, ClassRuns, RunCollector, runs_of_values
from qcow2_dump.checks.space.kinds import Kind

__all__ = ["HostMap", "map_host"]

_GUEST_CLASS = np.full(len(Kind), GuestClass.DATA, dtype=np.uint8)
_GUEST_CLASS[Kind.SHARED] = GuestClass.SHARED
_GUEST_CLASS[Kind.COMPRESSED] = GuestClass.COMPRESSED


@dataclass(frozen=True, slots=True)
class HostMap:
    """The file as runs of `Kind`.

    ``size`` is that of the file in bytes, ``sums`` the clusters of each kind (int64, by kind),
    ``damaged`` the clusters of any kind that are damaged. ``guest_classes`` says of each cluster
    what guest data in it is, for `map_guest`.
    """

    size: int
    runs: ClassRuns
    sums: NDArray[np.int64]
    damaged: int
    guest_classes: NDArray[np.uint8]


def map_host(
    windows: Iterable[tuple[int, NDArray[np.uint8]]],
    damaged: BitSet,
    *,
    clusters: int,
    size: int,
    cluster_size: int,
    most_runs: int,
) -> HostMap:
    """Gather the kinds of all clusters (``(first cluster, Kind of each)``, in order) into runs."""
    collector = RunCollector(cluster_size)
    sums = np.zeros(len(Kind), dtype=np.int64)
    # What lies past the end of the file cannot be read.
    guest_classes = np.full(clusters + 1, GuestClass.DATA | DAMAGED, dtype=np.uint8)
    hurt = 0
    for first, kinds in windows:
        classes, values = _GUEST_CLASS[kinds], kinds
        flags = damaged.flags(first, first + len(kinds))
        if flags.any():
            marks = flags.astype(np.uint8) * np.uint8(DAMAGED)
            classes, values = classes | marks, kinds | marks
            hurt += int(np.count_nonzero(flags))
        guest_classes[first : first + len(kinds)] = classes
        for length, value in runs_of_values(values):
            held = np.bincount(value & ~np.uint8(DAMAGED), weights=length, minlength=len(Kind))
            sums += held.astype(np.int64)
            collector.add(length, value)
    return HostMap(size, collector.runs(most_runs), sums, hurt, guest_classes)
