"""The file from its start to its end: what each part of it is used for."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qcow2_dump.checks.bitset import BitSet
from qcow2_dump.checks.maps.runs import DAMAGED, ClassRuns, RunCollector, runs_of_values
from qcow2_dump.checks.space.kinds import Kind

__all__ = ["HostMap", "map_host"]


@dataclass(frozen=True, slots=True)
class HostMap:
    """The file as runs of `Kind`.

    ``size`` is that of the file in bytes, ``sums`` the clusters of each kind (int64, by kind),
    ``damaged`` the clusters of any kind that are damaged.
    """

    size: int
    runs: ClassRuns
    sums: NDArray[np.int64]
    damaged: int


def map_host(
    windows: Iterable[tuple[int, int, NDArray[np.uint8] | None]],
    damaged: BitSet,
    *,
    size: int,
    cluster_size: int,
    most_runs: int,
) -> HostMap:
    """Gather the kinds of all clusters into runs; ``windows`` as those of a `Survey`."""
    collector = RunCollector(cluster_size)
    sums = np.zeros(len(Kind), dtype=np.int64)
    hurt = 0
    for first, end, kinds in windows:
        if kinds is None:
            sums[Kind.FREE] += end - first
            collector.add(np.array([end - first]), np.array([Kind.FREE], dtype=np.uint8))
            continue
        values, flags = kinds, damaged.flags(first, end)
        if flags.any():
            values = kinds | flags.astype(np.uint8) * np.uint8(DAMAGED)
            hurt += int(np.count_nonzero(flags))
        for length, value in runs_of_values(values):
            held = np.bincount(value & ~np.uint8(DAMAGED), weights=length, minlength=len(Kind))
            sums += held.astype(np.int64)
            collector.add(length, value)
    return HostMap(size, collector.runs(most_runs), sums, hurt)
