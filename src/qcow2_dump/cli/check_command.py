"""`check`: follows a run over some images and shows each as soon as it is done."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Protocol

from qcow2_dump.cli import exit_status
from qcow2_dump.cli.exit_status import StatusTable
from qcow2_dump.cli.failure import warn_of_writer
from qcow2_dump.cli.output import Output, complain, wants_color
from qcow2_dump.cli.progress import progress
from qcow2_dump.cli.signals import Stopped
from qcow2_dump.events import ImageChecked, ImageFailed, ImageOpened, Progress, WriterSeen
from qcow2_dump.image.image import Image
from qcow2_dump.operations.checking import run_checks
from qcow2_dump.operations.interrupted import UndoNames, unsettled_change, what_to_do
from qcow2_dump.operations.requests import CheckRequest
from qcow2_dump.report.escape import one_line, plain, printable
from qcow2_dump.report.style import Style

if TYPE_CHECKING:
    from qcow2_dump.report.document import Interrupted

__all__ = ["check_images"]


def check_images(request: CheckRequest, *, json: bool, color: str) -> int:
    """Check the images of a request and print a report on each; returns the exit status.

    Raises OSError when standard output cannot be written, `Stopped` never.
    """
    table = StatusTable(like_qemu_img=request.exit_like == "qemu-img")
    renderer = _Json() if json else _Text(request, Style(wants_color(color)))
    printer = _Printer(renderer, table)
    run = run_checks(request)
    with progress() as bar:
        try:
            for event in run:
                if isinstance(event, Progress):
                    if bar is not None:
                        bar.show(event)
                    continue
                if bar is not None and isinstance(event, ImageChecked | ImageFailed | WriterSeen):
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
            return status
    return table.combined(printer.statuses)


class _Printer:
    """Shows the events of a run, and remembers the status of each image.

    ``renderer`` is asked for the lines; complaints go to standard error in either form.
    """

    def __init__(self, renderer: "_Renderer", table: StatusTable) -> None:
        self.statuses: list[int] = []
        self._renderer = renderer
        self._table = table
        self._output = Output()
        self._image: Image | None = None

    def take(self, event: object) -> None:
        """Show what an event brings, if anything."""
        if isinstance(event, ImageOpened):
            self._image = event.image
        elif isinstance(event, WriterSeen):
            warn_of_writer("check", event.name, gone=event.gone)
        elif isinstance(event, ImageChecked):
            status = self._table.of_result(event.result)
            self.statuses.append(status)
            self.show(event, status)
        elif isinstance(event, ImageFailed):
            status = self._table.of_failure(event.errno)
            self.statuses.append(status)
            self._output.lines(self._renderer.failed(event, status))
            self._output.flush()
            complain(f"qcow2-dump check: {printable(event.name)}: {one_line(event.reason)}")

    def show(self, checked: ImageChecked, status: int) -> None:
        """Print the report on an image that was checked, in full or in part."""
        if self._image is not None:
            self._output.lines(self._renderer.checked(checked, self._image, status))
            self._output.flush()


class _Renderer(Protocol):
    """Turns what happened to one image into lines."""

    def checked(self, checked: ImageChecked, image: Image, status: int) -> Iterable[str]:
        """The report on an image that was checked."""
        ...

    def failed(self, failed: ImageFailed, status: int) -> Iterable[str]:
        """What is said of an image that could not be checked, besides the complaint."""
        ...


class _Text:
    """Reports for people, with a blank line between them and none around them."""

    def __init__(self, request: CheckRequest, style: Style) -> None:
        from qcow2_dump.report.text import TextOptions

        self._options = TextOptions(
            errors=request.errors, statistics=request.statistics, style=style
        )
        self._shown = 0

    def checked(self, checked: ImageChecked, image: Image, status: int) -> Iterable[str]:
        from qcow2_dump.report.text import check_report

        del status  # said by the verdict
        if self._shown:
            yield ""
        self._shown += 1
        yield from check_report(checked, image, self._options)

    def failed(self, failed: ImageFailed, status: int) -> Iterable[str]:
        del failed, status
        return ()


class _Json:
    """One document per image."""

    def __init__(self) -> None:
        self._names = UndoNames()

    def checked(self, checked: ImageChecked, image: Image, status: int) -> Iterable[str]:
        from qcow2_dump.report.json_report import check_document, to_line

        yield to_line(check_document(checked, image, status, self._interrupted(checked.name)))

    def failed(self, failed: ImageFailed, status: int) -> Iterable[str]:
        from qcow2_dump.report.json_report import error_document, to_line

        yield to_line(error_document(failed, status, self._interrupted(failed.name)))

    def _interrupted(self, name: str) -> "Interrupted | None":
        """What standard error says of a change that was not brought to its end."""
        known = unsettled_change(name, self._names)
        if known is None:
            return None
        return {
            "undo_file": plain(known.path),
            "usable": known.is_interrupted,
            "message": plain(what_to_do(known, name)),
        }
