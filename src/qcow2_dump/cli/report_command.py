"""`report`: checks images, writes a page about each, and says where it is."""

import time
from collections.abc import Iterator

from qcow2_dump import __version__
from qcow2_dump.cli import exit_status
from qcow2_dump.cli.exit_status import StatusTable
from qcow2_dump.cli.failure import warn_of_writer
from qcow2_dump.cli.output import Output, complain, wants_color
from qcow2_dump.cli.page_files import PageFiles
from qcow2_dump.cli.progress import progress
from qcow2_dump.cli.signals import Stopped
from qcow2_dump.events import ImageFailed, ImageOpened, ImagePictured, Progress, WriterSeen
from qcow2_dump.operations.reporting import ReportEvent, run_reports
from qcow2_dump.operations.requests import ReportRequest
from qcow2_dump.report.escape import one_line, printable
from qcow2_dump.report.html.engine import require_engine
from qcow2_dump.report.html.page import IndexRow, image_page, index_page, index_row
from qcow2_dump.report.style import Style
from qcow2_dump.report.summary import verdict_words

__all__ = ["write_report"]


def write_report(request: ReportRequest, *, color: str) -> int:
    """Write the pages of a request; returns the exit status, which is that of the check.

    Raises MissingExtraError without the template engine, SourceError when a page cannot be
    written, OSError when standard output cannot.
    """
    require_engine()
    writer = _Writer(request, Style(wants_color(color)))
    try:
        for event in _shown(run_reports(request)):
            writer.take(event)
    except Stopped as stopped:
        complain("qcow2-dump report: interrupted: the page of this image was not written")
        return exit_status.of_signal(stopped.number)
    return writer.finish()


def _shown(events: Iterator[ReportEvent]) -> Iterator[ReportEvent]:
    """The events without those that only say how far it has come, which a terminal shows."""
    with progress() as bar:
        for event in events:
            if isinstance(event, Progress):
                if bar is not None:
                    bar.show(event)
                continue
            if bar is not None:
                bar.clear()
            yield event
            if bar is not None and isinstance(event, ImageOpened):
                bar.start(event.name)


class _Writer:
    """Writes a page for each image that was pictured, and the index at the end."""

    def __init__(self, request: ReportRequest, style: Style) -> None:
        self._files = PageFiles(request.output, len(request.images))
        self._style = style
        self._table = StatusTable()
        self._statuses: list[int] = []
        self._rows: list[IndexRow] = []
        self._output = Output()

    def take(self, event: ReportEvent) -> None:
        """Do what an event asks for."""
        if isinstance(event, WriterSeen):
            warn_of_writer("report", event.name, gone=event.gone)
        elif isinstance(event, ImagePictured):
            path = self._files.path(len(self._rows))
            self._files.write(path, image_page(event, __version__, self._files.index))
            self._rows.append(index_row(event, path.name))
            self._statuses.append(self._table.of_result(event.checked.result))
            self._say(event, str(path))
        elif isinstance(event, ImageFailed):
            self._rows.append(index_row(event, ""))
            self._statuses.append(self._table.of_failure(event.errno))
            complain(f"qcow2-dump report: {printable(event.name)}: {one_line(event.reason)}")

    def finish(self) -> int:
        """Write the index, if there is to be one; returns the exit status."""
        if self._files.index:
            page = index_page(self._rows, __version__, int(time.time()))
            self._files.write(self._files.output, page)
            self._output.lines([f"{printable(str(self._files.output))}: the index"])
            self._output.flush()
        return self._table.combined(self._statuses)

    def _say(self, event: ImagePictured, path: str) -> None:
        result = event.checked.result
        heading, words = verdict_words(result, event.image)
        shown = self._style.verdict(heading, result.verdict)
        line = f"{printable(event.name)}: {shown} - {words}; see {printable(path)}"
        self._output.lines([line])
        self._output.flush()
