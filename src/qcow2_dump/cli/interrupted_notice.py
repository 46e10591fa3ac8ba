"""The line that every command which reads an image begins with, after a change was interrupted."""

from collections.abc import Iterable

from qcow2_dump.cli.output import complain
from qcow2_dump.operations.interrupted import UndoNames, interrupted_change

__all__ = ["warn_of_interrupted"]


def warn_of_interrupted(images: Iterable[str]) -> None:
    """Say on standard error of which images a change was not brought to its end."""
    names = UndoNames()
    for image in images:
        if interrupted_change(image, names) is not None:
            _warn(image)


def _warn(image: str) -> None:
    from qcow2_dump.report.commands import command, path
    from qcow2_dump.report.escape import printable

    complain(
        f"qcow2-dump: {printable(image)}: a change was interrupted, or is under way: "
        f"`{command('undo', path(image))}` takes it back or finishes it"
    )
