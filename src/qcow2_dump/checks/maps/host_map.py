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

    ``size`` is that of the file, ``sums`` the bytes of it of each kind (int64, by kind),
    ``damaged`` the bytes of any kind in damaged clusters.
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
    """Gather the kinds of all clusters into runs; ``windows`` as those of a `Survey`.

    ``size`` and ``cluster_size`` in bytes; the last cluster may be cut short.
    """
    collector = RunCollector(cluster_size)
    sums = np.zeros(len(Kind), dtype=np.int64)
    hurt, last = 0, np.uint8(Kind.FREE)
    for first, end, kinds in windows:
        if kinds is None:
            sums[Kind.FREE] += end - first
            collector.add(np.array([end - first]), np.array([Kind.FREE], dtype=np.uint8))
            last = np.uint8(Kind.FREE)
            continue
        values, flags = kinds, damaged.flags(first, end)
        if flags.any():
            values = kinds | flags.astype(np.uint8) * np.uint8(DAMAGED)
            hurt += int(np.count_nonzero(flags))
        for length, value in runs_of_values(values):
            held = np.bincount(value & ~np.uint8(DAMAGED), weights=length, minlength=len(Kind))
            sums += held.astype(np.int64)
            collector.add(length, value)
        last = values[-1]
    missing = int(sums.sum()) * cluster_size - size
    sums *= cluster_size
    sums[last & ~np.uint8(DAMAGED)] -= missing
    hurt = hurt * cluster_size - (missing if last >= DAMAGED else 0)
    return HostMap(size, collector.runs(most_runs), sums, hurt)
