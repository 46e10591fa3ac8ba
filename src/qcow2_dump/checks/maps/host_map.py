"""The file from its start to its end: what each part of it is used for."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qcow2_dump.checks.maps.class_values import DAMAGED
from qcow2_dump.checks.maps.runs import ClassRuns, RunCollector
from qcow2_dump.checks.space.kinds import Kind
from qcow2_dump.checks.space.stretches import Stretches, add_up

__all__ = ["HostMap", "HostMapper"]


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


class HostMapper:
    """Gathers the kinds of all clusters of a file into runs.

    ``size`` (of the file) and ``cluster_size`` are in bytes; the last cluster may be cut short.
    """

    def __init__(self, size: int, cluster_size: int) -> None:
        self._size = size
        self._cluster_size = cluster_size
        self._collector = RunCollector(cluster_size)
        self._sums = np.zeros(2 * DAMAGED, dtype=np.int64)
        self._last: Stretches | None = None

    def take(self, stretches: Stretches) -> None:
        """Add the next piece of the file."""
        lengths = stretches.lengths
        values = stretches.kinds | stretches.damaged.astype(np.uint8) * np.uint8(DAMAGED)
        add_up(self._sums, values, lengths)
        self._collector.add(lengths, values)
        self._last = stretches

    def map(self, most_runs: int) -> HostMap:
        """The map, once all of the file was taken."""
        of_values = self._sums.reshape(2, DAMAGED)[:, : len(Kind)] * self._cluster_size
        sums, damaged = of_values.sum(axis=0), int(of_values[1].sum())
        if self._last is not None:
            missing = self._last.end * self._cluster_size - self._size
            sums[self._last.kinds[-1]] -= missing
            damaged -= missing * int(self._last.damaged[-1])
        return HostMap(self._size, self._collector.runs(most_runs), sums, damaged)
