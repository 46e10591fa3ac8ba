"""The file from its start to its end: what each part of it is used for."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qcow2_dump.checks.maps.runs import DAMAGED, ClassRuns, RunCollector
from qcow2_dump.checks.space.kinds import Kind
from qcow2_dump.checks.space.stretches import Stretches

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
    pieces: Iterable[Stretches],
    *,
    size: int,
    cluster_size: int,
    most_runs: int,
) -> HostMap:
    """Gather the kinds of all clusters into runs; ``pieces`` as those of a `Survey`.

    ``size`` and ``cluster_size`` in bytes; the last cluster may be cut short.
    """
    collector = RunCollector(cluster_size)
    sums = np.zeros(len(Kind), dtype=np.int64)
    hurt, last = 0, None
    for last in pieces:
        lengths = last.lengths * cluster_size
        np.add.at(sums, last.kinds, lengths)
        hurt += int(lengths[last.damaged].sum())
        values = last.kinds | last.damaged.astype(np.uint8) * np.uint8(DAMAGED)
        collector.add(last.lengths, values)
    if last is not None:
        missing = last.end * cluster_size - size
        sums[last.kinds[-1]] -= missing
        hurt -= missing * int(last.damaged[-1])
    return HostMap(size, collector.runs(most_runs), sums, hurt)
