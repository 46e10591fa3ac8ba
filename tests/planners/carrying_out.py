"""Carry out a plan on a file as plainly as can be, and stop between any two of its steps."""

from collections.abc import Iterator
from pathlib import Path

from qcow2_dump.plan.model import Plan
from tests.support.whole_writes import carried_out


def carry_out(path: Path, plan: Plan, steps: int | None = None) -> None:
    """Do the first ``steps`` of a plan (all by default), holding each write to its old bytes."""
    part = Plan(plan.title, plan.size, plan.steps[:steps], plan.spool)
    path.write_bytes(carried_out(part, path.read_bytes()))


def prefixes(path: Path, plan: Plan) -> Iterator[int]:
    """Leave the file as it is after each number of steps from none to all, one after another."""
    original = path.read_bytes()
    for steps in range(len(plan.steps) + 1):
        path.write_bytes(original)
        carry_out(path, plan, steps)
        yield steps
