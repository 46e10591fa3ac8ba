"""What the file system has set aside for clusters that the image does not use."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from qcow2_dump.checks.space.kinds import Kind
from qcow2_dump.checks.space.survey import Survey

__all__ = ["allocated_free_bytes"]

# Ranges of data looked at together.
_TOGETHER = 1 << 12


def allocated_free_bytes(survey: Survey) -> int | None:
    """Bytes of free clusters that are no hole of the file; None where that is not known."""
    source = survey.facts.image.source
    if not source.allocated():  # a device has none, and memory cannot tell
        return None
    total = 0
    bits, length = survey.space.cluster_bits, survey.space.length
    for stretches in survey.stretches():
        free = stretches.kinds == Kind.FREE
        if not free.any():
            continue
        starts, ends = stretches.start[free] << bits, stretches.ends[free] << bits
        whole = np.append(0, np.cumsum(ends - starts))
        for bounds in _in_pieces(source.data_ranges(int(starts[0]), min(int(ends[-1]), length))):
            # Free bytes below each bound: those of whole stretches, and a part of the last.
            begun = np.searchsorted(starts, bounds, side="right")
            below = whole[begun] - np.maximum(ends[begun - 1] - bounds, 0) * (begun > 0)
            total += int((below[:, 1] - below[:, 0]).sum())
    return total


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
