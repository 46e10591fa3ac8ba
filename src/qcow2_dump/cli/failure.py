"""The one line about an image that could not be used, or not be trusted to hold still."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from qcow2_dump.cli import exit_status
from qcow2_dump.cli.output import complain
from qcow2_dump.errors import Qcow2Error
from qcow2_dump.operations.writers import look_for_writer
from qcow2_dump.report.escape import one_line, printable

if TYPE_CHECKING:
    from qcow2_dump.image.image import Image

__all__ = ["reason_of", "report_failure", "warn_of_writer", "warning_of_writers"]


def reason_of(error: Qcow2Error) -> str:
    """What an error says, and what was noted about the image when it came up."""
    return "; ".join([str(error), *getattr(error, "__notes__", ())])


def report_failure(command: str, image: str, error: Qcow2Error) -> int:
    """Say on standard error what failed about an image; returns the exit status.

    A file that the image names is named as well. Names come from images, so they are escaped.
    """
    reason = reason_of(error)
    place = error.filename if isinstance(error, OSError) else None
    if isinstance(place, str) and place != image:
        reason = f"{printable(place)}: {reason}"
    complain(f"qcow2-dump {command}: {printable(image)}: {one_line(reason)}")
    return exit_status.of_errno(error.errno)


def warn_of_writer(command: str, image: str, *, gone: bool = False) -> None:
    """Say on standard error that an image may be changing while it is read, or has changed."""
    warning = "somebody has it open for writing: what is reported may be changing meanwhile"
    if gone:
        warning = "somebody wrote to it meanwhile: what is reported may be out of date"
    complain(f"qcow2-dump {command}: {printable(image)}: {warning}")


@contextmanager
def warning_of_writers(command: str, image: "Image") -> Iterator[None]:
    """Warn once of somebody who writes to an image before, while or after it is read inside."""
    seen = look_for_writer(image)
    if seen is not None:
        warn_of_writer(command, seen.name, gone=seen.gone)
    yield
    if seen is None:
        seen = look_for_writer(image)
        if seen is not None:
            warn_of_writer(command, seen.name, gone=seen.gone)
