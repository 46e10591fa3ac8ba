"""What came of a change, for people: how the image is now, what was done, how to take it back."""

from collections.abc import Iterator
from dataclasses import dataclass

from qcow2_dump.checks.result import CheckResult
from qcow2_dump.events import ChangeMade
from qcow2_dump.image.image import Image
from qcow2_dump.planners.proposal import Proposal
from qcow2_dump.report.commands import command, path, undo_command
from qcow2_dump.report.escape import printable
from qcow2_dump.report.plan_text import (
    extent,
    further_commands,
    next_lines,
    note_lines,
    verdict_line,
)
from qcow2_dump.report.style import Style
from qcow2_dump.report.text import left_lines

__all__ = ["AfterChange", "change_report"]


@dataclass(frozen=True, slots=True)
class AfterChange:
    """The image as a change left it: None where it is none, or was not checked."""

    image: Image | None
    result: CheckResult | None


def change_report(
    made: ChangeMade,
    proposal: Proposal,
    now: AfterChange,
    done: str,
    style: Style,
    *,
    left: bool = False,
) -> Iterator[str]:
    """The lines on a change that was made; ``done`` says in a word or two what was done.

    ``left`` adds what is still wrong with the image.
    """
    what = f"{done}: {extent(proposal)} and read back"
    if now.result is not None and now.image is not None:
        yield verdict_line(made.name, now.result, now.image, style)
        yield f"  {what}"
        if left:
            yield from left_lines(now.result, now.image, style)
    else:
        yield f"{style.strong(printable(made.name))}: {what}"
    yield from note_lines(proposal.notes)
    if made.undo_file is not None or made.earlier is not None:
        yield ""
    if made.undo_file is not None:
        yield f"  undo file: {printable(made.undo_file)}"
        yield f"  to take it back: {undo_command(made)}"
    if made.earlier is not None:
        before = command("undo", path(made.name), "--undo-file", made.earlier)
        yield f"  to go back by one more change: {before}"
    commands: list[str] = []
    if now.result is not None and now.image is not None:
        commands = further_commands(now.result, now.image)
    yield from next_lines(commands or [command("check", path(made.name))])
