"""What the file system has set aside for clusters that the image does not use."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from qcow2_dump.checks.space.kinds import Kind
from qcow2_dump.checks.space.stretches import Stretches
from qcow2_dump.checks.space.survey import Survey

__all__ = ["FreeAllocation"]

# Ranges of data looked at together.
_TOGETHER = 1 << 12


class FreeAllocation:
    """Adds up the ``bytes`` of free clusters that are no hole of the file.

    None where the source cannot tell: a device has none, and neither has memory.
    """

    def __init__(self, survey: Survey) -> None:
        self._source = survey.facts.image.source
        self._space = survey.space
        self.bytes: int | None = 0 if self._source.allocated() else None

    def take(self, stretches: Stretches) -> None:
        """Add the next piece of the file. Raises SourceError when it cannot be asked."""
        free = stretches.kinds == Kind.FREE
        if self.bytes is None or not free.any():
            return
        bits = self._space.cluster_bits
        starts, ends = stretches.start[free] << bits, stretches.ends[free] << bits
        whole = np.append(0, np.cumsum(ends - starts))
        data = self._source.data_ranges(int(starts[0]), min(int(ends[-1]), self._space.length))
        for bounds in _in_pieces(data):
            # Free bytes below each bound: those of whole stretches, and a part of the last.
            begun = np.searchsorted(starts, bounds, side="right")
            below = whole[begun] - np.maximum(ends[begun - 1] - bounds, 0) * (begun > 0)
            self.bytes += int((below[:, 1] - below[:, 0]).sum())


def _in_pieces(ranges: Iterator[tuple[int, int]]) -> Iterator[NDArray[np.int64]]:
    """Ranges of the file, some thousand at a time: int64[n, 2]."""
    held: list[tuple[int, int]] = []
    for bounds in ranges:
        held.append(bounds)
        if len(held) == _TOGETHER:
            yield np.array(held, dtype=np.int64)
            held.clear()
    if held:
        yield np.array(held, dtype=np.int64)
