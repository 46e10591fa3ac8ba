"""Where the writes of a plan overlap: byte ranges that hold one thing after the other."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise

import numpy as np

from qcow2_dump.plan.model import Step, Write

__all__ = ["TooTangledError", "are_too_tangled", "groups", "segments"]

# Writes inside of writes inside of writes take time as their number squared. Ten million is some
# seconds, and no repair comes near; nor does any write a place a hundred times.
_MOST_VISITS = 10_000_000
_MOST_VERSIONS = 100


class TooTangledError(ValueError):
    """Too many writes overlap for them to be told apart in bearable time."""


def are_too_tangled(steps: Sequence[Step]) -> bool:
    """Whether `segments` would take unbearably long for some steps."""
    writes = (step for step in steps if isinstance(step, Write) and step.length)
    bounds = [(write.offset, write.end) for write in writes]
    starts, ends = np.array(bounds, np.int64).reshape(-1, 2).T
    cuts = np.unique(np.concatenate((starts, ends)))
    visits = np.searchsorted(cuts, ends) - np.searchsorted(cuts, starts)
    begun = np.searchsorted(np.sort(starts), cuts, "right")
    versions = begun - np.searchsorted(np.sort(ends), cuts, "right")
    return int(visits.sum()) > _MOST_VISITS or int(versions.max(initial=0)) > _MOST_VERSIONS


def segments(steps: Sequence[Step]) -> Iterator[tuple[int, int, list[int]]]:
    """Byte ranges ``(start, end)`` in order, each with the steps that write all of it, in order.

    Raises TooTangledError before the first of them.
    """
    if are_too_tangled(steps):
        raise TooTangledError
    writes = sorted(
        (step.offset, step.end, at)
        for at, step in enumerate(steps)
        if isinstance(step, Write) and step.length
    )
    cuts = sorted({place for start, end, _ in writes for place in (start, end)})
    active: list[tuple[int, int]] = []
    following = 0
    for low, high in pairwise(cuts):
        active = [(end, at) for end, at in active if end > low]
        while following < len(writes) and writes[following][0] == low:
            active.append(writes[following][1:])
            following += 1
        if active:
            yield low, high, sorted(at for _, at in active)


def groups(writes: Iterable[Write]) -> Iterator[list[Write]]:
    """Writes that lie over each other, in the order in which they are made; groups by offset."""
    numbered = sorted(enumerate(writes), key=lambda pair: pair[1].offset)
    group: list[tuple[int, Write]] = []
    end = 0
    for number, write in numbered:
        if group and write.offset >= end:
            yield [held for _, held in sorted(group)]
            group = []
        group.append((number, write))
        end = max(end, write.end)
    if group:
        yield [held for _, held in sorted(group)]
