"""From what was asked to what is done about it. What a command needs is loaded only here."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from qcow2_dump.cli import exit_status
from qcow2_dump.cli.asked import (
    Asked,
    CompletionRequest,
    ExplainRequest,
    HeaderFieldsRequest,
    HelpRequest,
    VersionRequest,
)
from qcow2_dump.cli.interrupted_notice import warn_of_interrupted
from qcow2_dump.cli.output import Output
from qcow2_dump.operations.requests import (
    CheckRequest,
    DumpRequest,
    DuRequest,
    InfoRequest,
    LocateRequest,
    MapRequest,
    PictureRequest,
    ReportRequest,
)

if TYPE_CHECKING:  # what only reads is not kept waiting for what writes
    from qcow2_dump.operations.write_requests import WriteRequest

__all__ = ["dispatch"]


def dispatch(asked: Asked) -> int:
    """Do what was asked; returns the exit status. Raises whatever the command raises."""
    request = asked.request
    if isinstance(request, PictureRequest | DuRequest):
        warn_of_interrupted((request.image,))
        return _measure(request, asked)
    if isinstance(request, ReportRequest):
        warn_of_interrupted(request.images)
        from qcow2_dump.cli.report_command import write_report

        return write_report(request, color=asked.color)
    if isinstance(request, CheckRequest | InfoRequest | DumpRequest | MapRequest | LocateRequest):
        warn_of_interrupted(_images(request))
        return _look(request, asked)
    if isinstance(
        request,
        ExplainRequest | HeaderFieldsRequest | CompletionRequest | VersionRequest | HelpRequest,
    ):
        return _tell(request, asked)
    return _change(request, asked)


def _images(
    request: CheckRequest | InfoRequest | DumpRequest | MapRequest | LocateRequest,
) -> tuple[str, ...]:
    if isinstance(request, CheckRequest | InfoRequest):
        return request.images
    return (request.image,)


def _look(
    request: CheckRequest | InfoRequest | DumpRequest | MapRequest | LocateRequest, asked: Asked
) -> int:
    """What is in an image, and what is wrong with it, as either face shows it."""
    if isinstance(request, MapRequest):
        from qcow2_dump.cli.map_command import map_image

        return map_image(request, json=asked.json, details=asked.details, color=asked.color)
    if isinstance(request, LocateRequest):
        from qcow2_dump.cli.locate_command import locate

        return locate(request, json=asked.json, color=asked.color)
    if isinstance(request, InfoRequest):
        from qcow2_dump.cli.info_command import show_classic_info, show_info

        if asked.classic is not None and not asked.json:
            return show_classic_info(request)
        return show_info(request, json=asked.json, color=asked.color)
    if asked.classic is not None and not asked.json:
        from qcow2_dump.cli.classic_report_command import print_classic_report

        return print_classic_report(request, asked.classic, color=asked.color)
    if isinstance(request, CheckRequest):
        from qcow2_dump.cli.check_command import check_images

        return check_images(request, json=asked.json, color=asked.color)
    from qcow2_dump.cli.dump_command import dump_image

    return dump_image(request)


def _measure(request: PictureRequest | DuRequest, asked: Asked) -> int:
    """What fills an image's file."""
    from qcow2_dump.cli.space_commands import draw_picture, show_space

    if isinstance(request, PictureRequest):
        return draw_picture(request, color=asked.color)
    return show_space(request, json=asked.json, csv=asked.csv, color=asked.color)


def _print(lines: Iterable[str]) -> int:
    output = Output()
    output.lines(lines)
    output.flush()
    return exit_status.OK


def _change(request: "WriteRequest", asked: Asked) -> int:
    """What changes an image, and what is shown instead of changing it."""
    from qcow2_dump.operations.write_requests import EditRequest, SnapshotRequest, UndoRequest

    if isinstance(request, EditRequest) and request.value is None:
        warn_of_interrupted((request.image,))
        from qcow2_dump.cli.change_views import show_integer

        return show_integer(request, json=asked.json, classic=asked.classic is not None)
    if isinstance(request, SnapshotRequest) and request.action == "list":
        warn_of_interrupted((request.image,))
        from qcow2_dump.cli.change_views import list_snapshots

        return list_snapshots(request, json=asked.json)
    if isinstance(request, UndoRequest) and request.listing:
        from qcow2_dump.cli.change_views import list_undo_files

        return list_undo_files(request, json=asked.json)
    from qcow2_dump.cli.change_command import change_image

    return change_image(asked, request)


def _tell(
    request: ExplainRequest
    | HeaderFieldsRequest
    | CompletionRequest
    | VersionRequest
    | HelpRequest,
    asked: Asked,
) -> int:
    """What needs no image."""
    if isinstance(request, ExplainRequest):
        from qcow2_dump.cli.explain_command import explain

        return explain(request.code, json=asked.json, color=asked.color)
    if isinstance(request, HeaderFieldsRequest):
        from qcow2_dump.cli.info_command import show_header_fields

        return show_header_fields()
    if isinstance(request, CompletionRequest):
        from qcow2_dump.cli.completion_scripts import completion_script

        return _print(completion_script(request.shell))
    if isinstance(request, VersionRequest):
        from qcow2_dump import __version__

        return _print([f"qcow2-dump {__version__}"])
    from qcow2_dump.cli.help_screen import help_lines

    return _print(help_lines(request.page))
