"""The line that every command which reads an image begins with, after a change was interrupted."""

from collections.abc import Iterable

from qcow2_dump.cli.output import complain
from qcow2_dump.operations.interrupted import UndoNames, unsettled_change, what_to_do

__all__ = ["warn_of_interrupted"]


def warn_of_interrupted(images: Iterable[str]) -> None:
    """Say on standard error of which images a change was not brought to its end, or may not be."""
    names = UndoNames()
    for image in images:
        known = unsettled_change(image, names)
        if known is not None:
            from qcow2_dump.report.escape import one_line, printable

            complain(f"qcow2-dump: {printable(image)}: {one_line(what_to_do(known, image))}")
