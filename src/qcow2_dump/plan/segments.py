"""Where the writes of a plan overlap: byte ranges that hold one thing after the other."""

from collections.abc import Iterator, Sequence
from itertools import pairwise

from qcow2_dump.plan.model import Step, Write

__all__ = ["TooTangledError", "segments"]

# Writes inside of writes inside of writes take time as their number squared. Ten million is some
# seconds, and no repair comes near.
_MOST_VISITS = 10_000_000


class TooTangledError(ValueError):
    """Too many writes overlap for them to be told apart in bearable time."""


def segments(steps: Sequence[Step]) -> Iterator[tuple[int, int, list[int]]]:
    """Byte ranges ``(start, end)`` in order, each with the steps that write all of it, in order.

    Raises TooTangledError, with the file offset as its argument.
    """
    writes = sorted(
        (step.offset, step.end, at)
        for at, step in enumerate(steps)
        if isinstance(step, Write) and step.length
    )
    cuts = sorted({place for start, end, _ in writes for place in (start, end)})
    active: list[tuple[int, int]] = []
    following = visits = 0
    for low, high in pairwise(cuts):
        active = [(end, at) for end, at in active if end > low]
        while following < len(writes) and writes[following][0] == low:
            active.append(writes[following][1:])
            following += 1
        visits += len(active)
        if visits > _MOST_VISITS:
            raise TooTangledError(low)
        if active:
            yield low, high, sorted(at for _, at in active)
