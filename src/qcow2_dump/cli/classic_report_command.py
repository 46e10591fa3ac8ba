"""The classic modes check, error and dump: one run over an image, shown as the classic report."""

from typing import TYPE_CHECKING, Literal

from qcow2_dump.cli import exit_status
from qcow2_dump.cli.asked import ClassicView
from qcow2_dump.cli.exit_status import StatusTable
from qcow2_dump.cli.failure import report_failure, warn_of_writer
from qcow2_dump.cli.output import Output, wants_color
from qcow2_dump.cli.signals import Stopped
from qcow2_dump.errors import Qcow2Error
from qcow2_dump.events import ImageChecked, Progress, WriterSeen
from qcow2_dump.operations.requests import CheckRequest, DumpRequest

if TYPE_CHECKING:
    from qcow2_dump.image.image import Image
    from qcow2_dump.operations.listing import Listing
    from qcow2_dump.report.classic_report import ClassicOptions

__all__ = ["print_classic_report", "report_on"]


def print_classic_report(
    request: CheckRequest | DumpRequest, view: ClassicView, *, color: str
) -> int:
    """Check or dump the image of a request and print the classic report on it.

    Returns the verdict as the exit status. Raises OSError when standard output cannot be written,
    `Stopped` never.
    """
    from qcow2_dump.image.image import open_image
    from qcow2_dump.image.resolver import LookForFiles, NeverLook

    name = request.image if isinstance(request, DumpRequest) else request.images[0]
    resolver = LookForFiles() if request.look_for_backing else NeverLook()
    try:
        with open_image(name, resolver=resolver, lock=request.lock) as image:
            try:
                return report_on(image, request, view, color=color)
            except Stopped as stopped:
                return exit_status.of_signal(stopped.number)
    except Qcow2Error as error:
        return report_failure(_mode(request), name, error)


def report_on(
    image: "Image", request: CheckRequest | DumpRequest, view: ClassicView, *, color: str
) -> int:
    """Print the classic report on an opened image; returns the verdict as the exit status.

    Raises SourceError, OSError when standard output cannot be written, and `Stopped` once what was
    found so far is printed.
    """
    from qcow2_dump.operations.listing import ListingRun
    from qcow2_dump.report.classic_report import ClassicReport

    status = exit_status.OK
    output = Output()
    run = ListingRun(image, _listing(request, view))
    report = ClassicReport(image, _options(request, view, color))
    try:
        for event in run:
            if isinstance(event, Progress):
                continue
            if isinstance(event, WriterSeen):
                warn_of_writer(_mode(request), event.name, gone=event.gone)
                continue
            output.text(report.take(event))
            if isinstance(event, ImageChecked):
                status = StatusTable().of_result(event.result)
    except Stopped:
        so_far = run.interrupted()
        if so_far is not None:
            output.text(report.summary(so_far))
        output.flush()
        raise
    output.flush()
    return status


def _listing(request: CheckRequest | DumpRequest, view: ClassicView) -> "Listing":
    from qcow2_dump.operations.listing import Listing

    entries: Literal["all", "bad", "none"] = "all"
    if isinstance(request, CheckRequest):
        entries = "bad" if request.errors else "none"
    return Listing(
        entries=entries,
        what=view.what,
        snapshot=view.snapshot,
        report=True,
        owners=view.owners,
        layout=view.prealloc,
        deep=request.deep,
        look_for_backing=request.look_for_backing,
    )


def _options(
    request: CheckRequest | DumpRequest, view: ClassicView, color: str
) -> "ClassicOptions":
    from qcow2_dump.report.classic_report import ClassicOptions
    from qcow2_dump.report.style import Style

    refcounts = view.what != "tables"
    if isinstance(request, DumpRequest):
        return ClassicOptions(flags=request.flags, findings=True, refcounts=refcounts)
    style = Style(wants_color(color))
    return ClassicOptions(findings=request.errors, refcounts=refcounts, style=style)


def _mode(request: CheckRequest | DumpRequest) -> str:
    if isinstance(request, DumpRequest):
        return "-m dump"
    return "-m error" if request.errors else "-m check"
