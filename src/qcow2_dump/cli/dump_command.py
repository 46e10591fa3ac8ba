"""`dump`: prints every metadata entry of an image as it is read."""

from typing import TYPE_CHECKING, Protocol

from qcow2_dump.cli import exit_status
from qcow2_dump.cli.exit_status import StatusTable
from qcow2_dump.cli.failure import report_failure, warn_of_writer
from qcow2_dump.cli.output import Output
from qcow2_dump.cli.signals import Stopped
from qcow2_dump.errors import Qcow2Error
from qcow2_dump.events import ImageChecked, ListingEvent, WriterSeen
from qcow2_dump.operations.requests import DumpRequest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from qcow2_dump.events import Entries
    from qcow2_dump.image.image import Image

__all__ = ["dump_image"]


class _Renderer(Protocol):
    """Turns the events of a listing into text."""

    def take(self, event: "ListingEvent | Entries") -> "Iterator[str]":
        """The text of one event, line ends included."""
        ...


def dump_image(request: DumpRequest) -> int:
    """Print the entries that a request asks for; returns the verdict as the exit status.

    Without refcounts only the structure of what was asked for is judged. Nothing is coloured. What
    fails about the image is told on standard error. Raises OSError when standard output cannot be
    written, `Stopped` never.
    """
    from qcow2_dump.image.image import open_image
    from qcow2_dump.image.resolver import LookForFiles, NeverLook
    from qcow2_dump.operations.listing import Listing, ListingRun

    listing = Listing(
        entries="all",
        what=request.what,
        snapshot=request.snapshot,
        deep=request.deep,
        look_for_backing=request.look_for_backing,
    )
    resolver = LookForFiles() if request.look_for_backing else NeverLook()
    status = exit_status.OK
    try:
        with open_image(request.image, resolver=resolver, lock=request.lock) as image:
            output = Output()
            renderer = _renderer(request, image)
            try:
                for event in ListingRun(image, listing):
                    if isinstance(event, WriterSeen):
                        warn_of_writer("dump", event.name, gone=event.gone)
                        continue
                    output.text(renderer.take(event))
                    if isinstance(event, ImageChecked):
                        status = StatusTable().of_result(event.result)
            except Stopped as stopped:
                status = exit_status.of_signal(stopped.number)
            output.flush()
    except Qcow2Error as error:
        return report_failure("dump", request.image, error)
    return status


def _renderer(request: DumpRequest, image: "Image") -> _Renderer:
    if request.format == "text":
        from qcow2_dump.report.listing_text import ListingText

        return ListingText(image, flags=request.flags)
    from qcow2_dump.report.listing_records import ListingRecords

    return ListingRecords(image, csv=request.format == "csv", flags=request.flags)
