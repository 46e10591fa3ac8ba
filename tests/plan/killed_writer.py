"""A program that applies a plan to a real file and is killed on the way."""

import os
import signal
import sys
from pathlib import Path

from qcow2_dump.plan.apply import apply_plan
from qcow2_dump.plan.journal import create_journal
from qcow2_dump.plan.model import Plan
from qcow2_dump.storage.writable import WritableFile
from tests.plan.disk import digest, make_plan

CONTENT = bytes(range(256)) * 64


def a_plan() -> Plan:
    """Some writes in three stretches, the file growing first."""
    writes = [(at * 1024, bytes([at]) * 700) for at in range(16)]
    last = [(at * 1024, b"last") for at in range(3)]
    return make_plan(CONTENT, [32 << 10, None, *writes, None, (20_000, b"new" * 999), *last])


def main(image: str, number: int, elsewhere: str) -> None:
    """Apply the plan, and kill this process after so many writes."""
    plan, written = a_plan(), 0

    def count(_done: int, _total: int) -> None:
        nonlocal written
        written += 1
        if written == number:
            os.kill(os.getpid(), signal.SIGKILL)

    Path(image).write_bytes(CONTENT)
    with WritableFile(image) as target:
        journal = create_journal(
            image,
            plan,
            state_before=digest(target),
            tool_version="1",
            undo_file=elsewhere or None,
        )
        apply_plan(plan, target, journal, digest, count)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), sys.argv[3])
