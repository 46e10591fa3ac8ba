"""What the file system has set aside for clusters that the image does not use."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from qcow2_dump.checks.space.kinds import Kind
from qcow2_dump.checks.space.survey import Survey

__all__ = ["allocated_free_bytes"]


def allocated_free_bytes(survey: Survey) -> int | None:
    """Bytes of free clusters that are no hole of the file; None where that is not known."""
    source = survey.facts.image.source
    if not source.allocated():  # a device has none, and memory cannot tell
        return None
    total = 0
    size, bits = survey.space.cluster_size, survey.space.cluster_bits
    for first, behind, kinds in survey.windows():
        start, end = first << bits, min(behind << bits, survey.space.length)
        if kinds is None:
            total += sum(stop - begin for begin, stop in source.data_ranges(start, end))
            continue
        free = kinds == Kind.FREE
        if not free.any():
            continue
        below = np.append(0, np.cumsum(free)) * size
        ranges = source.data_ranges(start, end)
        for bounds in _in_pieces(ranges, start):
            cluster = np.minimum(bounds >> bits, len(free) - 1)
            # Free bytes below each bound: those of whole clusters, and a part of its own.
            within = below[cluster] + free[cluster] * (bounds - (cluster << bits))
            total += int((within[:, 1] - within[:, 0]).sum())
    return total


_TOGETHER = 1 << 12


def _in_pieces(ranges: Iterator[tuple[int, int]], start: int) -> Iterator[NDArray[np.int64]]:
    """Ranges of the file, some thousand at a time, counted from ``start``: int64[n, 2]."""
    held: list[tuple[int, int]] = []
    for bounds in ranges:
        held.append(bounds)
        if len(held) == _TOGETHER:
            yield np.array(held, dtype=np.int64) - start
            held.clear()
    if held:
        yield np.array(held, dtype=np.int64) - start
