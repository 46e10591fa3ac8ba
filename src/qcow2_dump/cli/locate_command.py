"""`locate`: says what holds a guest offset, or who claims a host cluster."""

import json as json_format
from collections.abc import Iterator
from typing import TYPE_CHECKING

from qcow2_dump.cli import exit_status
from qcow2_dump.cli.failure import report_failure, warning_of_writers
from qcow2_dump.cli.output import Output, wants_color
from qcow2_dump.errors import Qcow2Error
from qcow2_dump.image.image import Image, open_image
from qcow2_dump.image.location import GuestLocation
from qcow2_dump.image.resolver import NeverLook
from qcow2_dump.operations.requests import LocateRequest
from qcow2_dump.operations.viewing_locate import locate as answer
from qcow2_dump.report.style import Style

if TYPE_CHECKING:  # imports numpy
    from qcow2_dump.checks.owners.host_owners import HostLocation

__all__ = ["locate"]


def locate(request: LocateRequest, *, json: bool, color: str) -> int:
    """Print where a guest offset lies or who claims a host offset; returns the exit status.

    What fails about the image is told on standard error. Raises OSError when standard output
    cannot be written.
    """
    try:
        with (
            open_image(request.image, resolver=NeverLook()) as image,
            warning_of_writers("locate", image),
        ):
            found = answer(image, request)
            output = Output()
            style = Style(wants_color(color))
            output.lines([_document(found, image)] if json else _text(found, image, style))
            output.flush()
    except Qcow2Error as error:
        return report_failure("locate", request.image, error)
    return exit_status.OK


def _document(found: "GuestLocation | HostLocation", image: Image) -> str:
    if isinstance(found, GuestLocation):
        from qcow2_dump.report.locate_guest import guest_document

        return json_format.dumps(guest_document(found, image))
    from qcow2_dump.report.locate_host import host_document

    return json_format.dumps(host_document(found, image))


def _text(found: "GuestLocation | HostLocation", image: Image, style: Style) -> Iterator[str]:
    if isinstance(found, GuestLocation):
        from qcow2_dump.report.locate_guest import guest_text

        return guest_text(found, image, style)
    from qcow2_dump.report.locate_host import host_text

    return host_text(found, image, style)
