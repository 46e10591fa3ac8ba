"""Carry out a plan on a file as plainly as can be, and stop between any two of its steps."""

from collections.abc import Iterator
from pathlib import Path

from qcow2_dump.plan.model import Plan, Resize, Write


def carry_out(path: Path, plan: Plan, steps: int | None = None) -> None:
    """Do the first ``steps`` of a plan (all by default), holding each write to its old bytes."""
    data = bytearray(path.read_bytes())
    for step in plan.steps[:steps]:
        if isinstance(step, Resize):
            assert len(data) == step.old
            data = data[: step.new].ljust(step.new, b"\0")
        elif isinstance(step, Write):
            held = bytes(data[step.offset : step.end]).ljust(step.length, b"\0")
            assert held == step.old.read()
            assert step.end <= len(data)
            data[step.offset : step.end] = step.new.read()
    path.write_bytes(data)


def prefixes(path: Path, plan: Plan) -> Iterator[int]:
    """Leave the file as it is after each number of steps from none to all, one after another."""
    original = path.read_bytes()
    for steps in range(len(plan.steps) + 1):
        path.write_bytes(original)
        carry_out(path, plan, steps)
        yield steps
