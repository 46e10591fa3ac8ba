"""`info`, and what the classic face has of it: `-m info` and `-H`."""

from collections.abc import Iterable

from qcow2_dump.cli import exit_status
from qcow2_dump.cli.output import Output, complain, wants_color
from qcow2_dump.image.info import ImageInfo, InfoFailure
from qcow2_dump.operations.requests import InfoRequest
from qcow2_dump.report.escape import one_line, printable

__all__ = ["show_classic_info", "show_header_fields", "show_info"]


def show_info(request: InfoRequest, *, json: bool, color: str) -> int:
    """Print what the images of a request say of themselves; returns the exit status.

    Raises OSError when standard output cannot be written.
    """
    return _show(request, _Json() if json else _Text(wants_color(color)), "qcow2-dump info")


def show_classic_info(request: InfoRequest) -> int:
    """Print headers and snapshot lists in the line shapes of the original tool."""
    return _show(request, _Classic(), "qcow2-dump")


def show_header_fields() -> int:
    """Print the name, the offset and the width of every header field; needs no image."""
    from qcow2_dump.report.classic_header import header_field_rows

    output = Output()
    output.lines(header_field_rows())
    output.flush()
    return exit_status.OK


class _Text:
    """Reports for people, with a blank line between them and none around them."""

    def __init__(self, color: bool) -> None:
        from qcow2_dump.report.style import Style

        self._style = Style(color)
        self._shown = 0

    def info(self, info: ImageInfo) -> Iterable[str]:
        """The report on one image."""
        from qcow2_dump.report.info_text import info_report

        return self._apart(list(info_report(info, self._style)))

    def failed(self, failure: InfoFailure, status: int) -> Iterable[str]:
        """The header fields, if there are any, of an image that cannot be interpreted."""
        from qcow2_dump.report.info_text import failure_report

        del status  # told by the process
        return self._apart(list(failure_report(failure, self._style)))

    def _apart(self, lines: list[str]) -> list[str]:
        if not lines:
            return lines
        self._shown += 1
        return ["", *lines] if self._shown > 1 else lines


class _Json:
    """One document per image."""

    def info(self, info: ImageInfo) -> Iterable[str]:
        """The facts."""
        from qcow2_dump.report.info_json import info_document, to_line

        return [to_line(info_document(info))]

    def failed(self, failure: InfoFailure, status: int) -> Iterable[str]:
        """Why there are none."""
        from qcow2_dump.report.info_json import failure_document, to_line

        return [to_line(failure_document(failure, status))]


class _Classic:
    """The header and the snapshot list; complaints are all that is said of damage."""

    def info(self, info: ImageInfo) -> Iterable[str]:
        """The lines of one image."""
        from qcow2_dump.report.classic_header import header_lines, snapshot_lines

        yield from header_lines(info)
        if info.snapshots:
            yield ""
            yield from snapshot_lines(info.snapshots)
        for problem in info.problems:
            where = f"{printable(info.file.name)}: {problem.part}"
            complain(f"qcow2-dump: {where}: {one_line(problem.message)}")

    def failed(self, failure: InfoFailure, status: int) -> Iterable[str]:
        """The header fields as they are stored, if the image has any."""
        del status  # told by the process
        for field, value in failure.fields:
            yield f"{field.name}: {value:#x}"


def _show(request: InfoRequest, renderer: _Text | _Json | _Classic, speaker: str) -> int:
    """Show one image after the other; the first failure decides the status."""
    from qcow2_dump.operations.viewing_info import read_infos

    output = Output()
    status = exit_status.OK
    for found in read_infos(request):
        if isinstance(found, ImageInfo):
            output.lines(renderer.info(found))
            output.flush()
            continue
        failed = exit_status.of_errno(found.errno)
        status = status or failed
        output.lines(renderer.failed(found, failed))
        output.flush()
        complain(f"{speaker}: {printable(found.name)}: {one_line(found.reason)}")
    return status
