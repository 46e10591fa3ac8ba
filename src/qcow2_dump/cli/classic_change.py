"""What the classic face prints before it repairs: the report on the image as found, as always."""

from typing import TYPE_CHECKING

from qcow2_dump.cli.asked import Asked
from qcow2_dump.cli.classic_report_command import report_on
from qcow2_dump.operations.requests import CheckRequest
from qcow2_dump.operations.write_requests import RepairRequest

if TYPE_CHECKING:
    from qcow2_dump.operations.applying import ChangeRun
    from qcow2_dump.operations.undoing import UndoRun

__all__ = ["before_classic_repair"]


def before_classic_repair(run: "ChangeRun | UndoRun", asked: Asked) -> None:
    """Print the classic report, where it was the classic ``-R`` that asked, and not for JSON.

    Raises OSError when standard output cannot be written, SourceError, `Stopped`.
    """
    request = run.request
    if asked.classic is None or asked.json or run.image is None:
        return
    if isinstance(request, RepairRequest):
        as_check = CheckRequest(
            images=(request.image,),
            deep=request.deep,
            statistics=True,
            look_for_backing=request.look_for_backing,
        )
        report_on(run.image, as_check, asked.classic, color=asked.color)
