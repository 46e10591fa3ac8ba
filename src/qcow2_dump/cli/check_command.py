"""`check`: follows a run over some images and shows each as soon as it is done."""

import sys
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING

from qcow2_dump.cli import exit_status
from qcow2_dump.cli.exit_status import StatusTable
from qcow2_dump.cli.output import Output, complain, wants_color
from qcow2_dump.cli.signals import Stopped
from qcow2_dump.events import ImageChecked, ImageFailed, ImageOpened, Progress
from qcow2_dump.image.image import Image
from qcow2_dump.operations.checking import run_checks
from qcow2_dump.operations.requests import CheckRequest
from qcow2_dump.report.escape import printable
from qcow2_dump.report.json_report import check_document, error_document, to_line
from qcow2_dump.report.style import Style
from qcow2_dump.report.text import TextOptions, check_report

if TYPE_CHECKING:
    from qcow2_dump.report.progress import ProgressBar

__all__ = ["check_images"]


def check_images(request: CheckRequest, *, json: bool, color: str) -> int:
    """Check the images of a request and print a report on each; returns the exit status.

    Raises OSError when standard output cannot be written, `Stopped` never.
    """
    table = StatusTable(like_qemu_img=request.exit_like == "qemu-img")
    printer = _Printer(request, table, json=json, style=Style(wants_color(color)))
    run = run_checks(request)
    with _progress() as bar:
        try:
            for event in run:
                if isinstance(event, Progress):
                    if bar is not None:
                        bar.show(event)
                    continue
                if bar is not None and isinstance(event, ImageChecked | ImageFailed):
                    bar.clear()
                printer.take(event)
                if bar is not None and isinstance(event, ImageOpened):
                    bar.start(event.name)
        except Stopped as stopped:
            if bar is not None:
                bar.clear()
            status = exit_status.of_signal(stopped.number)
            so_far = run.interrupted()
            if so_far is not None:
                printer.show(so_far, status)
            printer.finish()
            return status
    printer.finish()
    return table.combined(printer.statuses)


class _Printer:
    """Turns the events of a run into text or JSON, and remembers the status of each image."""

    def __init__(
        self, request: CheckRequest, table: StatusTable, *, json: bool, style: Style
    ) -> None:
        self.statuses: list[int] = []
        self._table = table
        self._json = json
        self._options = TextOptions(
            errors=request.errors, statistics=request.statistics, style=style
        )
        self._output = Output()
        self._image: Image | None = None
        self._shown = 0

    def take(self, event: object) -> None:
        """Show what an event brings, if anything."""
        if isinstance(event, ImageOpened):
            self._image = event.image
        elif isinstance(event, ImageChecked):
            status = self._table.of_result(event.result)
            self.statuses.append(status)
            self.show(event, status)
        elif isinstance(event, ImageFailed):
            self._failed(event)

    def show(self, checked: ImageChecked, status: int) -> None:
        """Print the report on an image that was checked, in full or in part."""
        image = self._image
        if image is None:
            return
        if self._json:
            self._output.lines([to_line(check_document(checked, image, status))])
        else:
            # A blank line between reports, none around them.
            self._output.lines([""] if self._shown else [])
            self._output.lines(check_report(checked, image, self._options))
        self._shown += 1
        self._output.flush()

    def finish(self) -> None:
        """Make sure that everything was written."""
        self._output.flush()

    def _failed(self, failed: ImageFailed) -> None:
        status = self._table.of_failure(failed.errno)
        self.statuses.append(status)
        if self._json:
            self._output.lines([to_line(error_document(failed, status))])
            self._output.flush()
        complain(f"qcow2-dump check: {printable(failed.name)}: {printable(failed.reason)}")


def _progress() -> "AbstractContextManager[ProgressBar | None]":
    """A bar where standard error is a terminal; nothing is imported for it elsewhere."""
    if sys.stderr is None or not sys.stderr.isatty():
        return nullcontext()
    from qcow2_dump.report.progress import ProgressBar

    return ProgressBar(sys.stderr)
