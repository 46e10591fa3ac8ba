"""`du` and `map --picture`: print what fills an image's file."""

import errno
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from qcow2_dump.cli import exit_status
from qcow2_dump.cli.failure import report_failure, warning_of_writers
from qcow2_dump.cli.output import Output, complain
from qcow2_dump.cli.progress import progress
from qcow2_dump.cli.screen import paper, screen_lines
from qcow2_dump.errors import Qcow2Error
from qcow2_dump.image.image import Image, open_image
from qcow2_dump.image.resolver import NeverLook
from qcow2_dump.operations.requests import DuRequest, PictureRequest
from qcow2_dump.report.escape import printable

if TYPE_CHECKING:
    from qcow2_dump.operations.viewing_space import Tick

__all__ = ["draw_picture", "show_space"]

_Show = Callable[[Image, "Tick | None"], Iterator[str]]


def show_space(request: DuRequest, *, json: bool, csv: bool, color: str) -> int:
    """Print what fills an image, for people unless asked otherwise; returns the exit status.

    What fails about the image is told on standard error. Raises OSError when standard output
    cannot be written.
    """

    def show(image: Image, tick: "Tick | None") -> Iterator[str]:
        from qcow2_dump.operations.viewing_space import measure

        measured = measure(image, request, tick)
        if json or csv:
            from qcow2_dump.report.space_json import du_document, du_rows, to_line

            return (
                du_rows(measured, image) if csv else iter([to_line(du_document(measured, image))])
            )
        from qcow2_dump.report.space_text import space_text

        return space_text(measured, image, paper(color))

    return _print("du", request.image, show, lock=request.lock)


def draw_picture(request: PictureRequest, *, color: str) -> int:
    """Print a picture of an image's file; returns the exit status. As `show_space` otherwise."""

    def show(image: Image, tick: "Tick | None") -> Iterator[str]:
        from qcow2_dump.operations.viewing_space import survey_image
        from qcow2_dump.report.space_picture import picture

        return picture(survey_image(image, tick), paper(color), screen_lines())

    return _print("map", request.image, show, lock=False)


def _print(command: str, name: str, show: _Show, *, lock: bool) -> int:
    try:
        with (
            open_image(name, resolver=NeverLook(), lock=lock) as image,
            warning_of_writers(command, image),
        ):
            with progress() as bar:
                if bar is not None:
                    bar.start(name)
                lines = show(image, None if bar is None else bar.show)
            output = Output()
            output.lines(lines)
            output.flush()
    except Qcow2Error as error:
        return report_failure(command, name, error)
    except MemoryError:
        complain(f"qcow2-dump {command}: {printable(name)}: not enough memory")
        return exit_status.of_errno(errno.ENOMEM)
    return exit_status.OK
