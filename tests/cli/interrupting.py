"""A change that was stopped half way, as a machine that dies leaves it."""

from pathlib import Path

from qcow2_dump.image.state_digest import source_digest
from qcow2_dump.operations.applying import ChangeRun
from qcow2_dump.operations.write_requests import WriteOptions, WriteRequest
from qcow2_dump.plan.journal import create_journal
from qcow2_dump.plan.model import Write

__all__ = ["WriteOptions", "interrupt"]


def interrupt(path: Path, request: WriteRequest, writes: int) -> None:
    """Do the first writes of a change, with its undo file, and nothing of what comes after."""
    with ChangeRun(request) as run:
        plan = run.proposal.plan
        with path.open("r+b") as file:
            journal = create_journal(
                path, plan, state_before=source_digest(run._file.source), tool_version="test"
            )
            journal.close()
            for step in [step for step in plan.steps if isinstance(step, Write)][:writes]:
                file.seek(step.offset)
                there = file.read(step.length)
                file.seek(step.offset)
                file.write(step.new.over(there))
