"""What the commands that change an image show without changing it."""

from qcow2_dump.cli import exit_status
from qcow2_dump.cli.failure import report_failure
from qcow2_dump.cli.output import Output
from qcow2_dump.cli.request_words import speaker
from qcow2_dump.errors import Qcow2Error
from qcow2_dump.operations.write_requests import EditRequest, SnapshotRequest, UndoRequest
from qcow2_dump.report.escape import printable

__all__ = ["list_snapshots", "list_undo_files", "show_integer"]


def show_integer(request: EditRequest, *, json: bool, classic: bool) -> int:
    """Print the integer at an offset of a file, image or not; returns the exit status."""
    from qcow2_dump.planners.fields.raw import read_integer
    from qcow2_dump.report.plan_json import to_line, value_document
    from qcow2_dump.storage.file import FileSource

    try:
        with FileSource(request.image) as source:
            value = read_integer(source, request.offset, request.width)
    except Qcow2Error as error:
        return report_failure(speaker(request, classic=classic), request.image, error)
    where = (request.image, request.offset, request.width)
    line = f"{request.offset:#x}: {value:#x} ({value})"
    return _print([to_line(value_document(*where, value)) if json else line])


def list_snapshots(request: SnapshotRequest, *, json: bool) -> int:
    """Print the snapshots of an image, also of a damaged one; returns the exit status."""
    from qcow2_dump.image.image import open_image
    from qcow2_dump.image.resolver import NeverLook
    from qcow2_dump.report.info_json import snapshots_document, to_line
    from qcow2_dump.report.info_text import snapshot_rows

    try:
        with open_image(request.image, resolver=NeverLook(), any_feature=True) as image:
            table = image.snapshot_table
    except Qcow2Error as error:
        return report_failure("snapshot", request.image, error)
    if json:
        document = snapshots_document(request.image, table.entries, table.dropped)
        return _print([to_line(document)])
    lines = snapshot_rows(table.entries) or [f"{printable(request.image)}: no snapshots"]
    if table.dropped:
        lines.append(f"{table.dropped:,} more cannot be read")
    return _print(lines)


def list_undo_files(request: UndoRequest, *, json: bool) -> int:
    """Print what is known of the undo files of an image; returns the exit status."""
    from qcow2_dump.operations.undoing import undo_files
    from qcow2_dump.report.undo_list import undo_list_document, undo_list_lines

    found = undo_files(request)
    if json:
        from qcow2_dump.report.plan_json import to_line

        return _print([to_line(undo_list_document(request.image, found))])
    return _print(undo_list_lines(request.image, found))


def _print(lines: list[str]) -> int:
    output = Output()
    output.lines(lines)
    output.flush()
    return exit_status.OK
