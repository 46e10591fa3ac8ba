"""How far a check has come."""

from collections.abc import Iterator
from typing import NamedTuple

__all__ = ["Step", "steps_of"]


class Step(NamedTuple):
    """How far a stage has come: bytes of metadata done, out of all that it will read."""

    stage: str
    done: int
    total: int


def steps_of(stage: str, total: int, work: Iterator[int]) -> Iterator[Step]:
    """The steps of a stage that yields the bytes done so far."""
    for done in work:
        yield Step(stage, done, total)
