"""What came of a change, for people: how the image is now, what was done, how to take it back."""

from collections.abc import Iterator

from qcow2_dump.events import ChangeMade
from qcow2_dump.image.image import Image
from qcow2_dump.planners.proposal import Proposal
from qcow2_dump.report.advice import advise
from qcow2_dump.report.commands import command, path
from qcow2_dump.report.escape import printable
from qcow2_dump.report.plan_text import extent, note_lines, verdict_line
from qcow2_dump.report.style import Style

__all__ = ["change_report"]


def change_report(
    made: ChangeMade, proposal: Proposal, image: Image | None, done: str, style: Style
) -> Iterator[str]:
    """The lines on a change that was made; ``done`` says in a word or two what was done.

    ``image`` is the image as it now is, None where it is none.
    """
    what = f"{done}: {extent(proposal)}, read back and found as written"
    if made.result is not None and image is not None:
        yield verdict_line(made.name, made.result, image, style)
        yield f"  {what}"
    else:
        yield f"{style.strong(printable(made.name))}: {what}"
    yield from note_lines(proposal.notes)
    yield ""
    if made.undo_file is None:
        yield "  there is no undo file: this cannot be taken back"
    else:
        yield f"  undo file: {printable(made.undo_file)}"
        yield f"  to take it back: {command('undo', path(made.name))}"
    if made.result is not None and image is not None:
        for position, line in enumerate(advise(made.result, image).commands):
            yield f"  {'next: ' if position == 0 else '      '}{line}"
