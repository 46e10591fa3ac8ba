"""`map`: prints the guest ranges of an image as they are found."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from qcow2_dump.cli import exit_status
from qcow2_dump.cli.failure import report_failure, warning_of_writers
from qcow2_dump.cli.output import Output, wants_color
from qcow2_dump.errors import Qcow2Error
from qcow2_dump.operations.requests import MapRequest
from qcow2_dump.report.style import Style

if TYPE_CHECKING:
    from qcow2_dump.operations.viewing_map import MapRun

__all__ = ["map_image"]


def map_image(request: MapRequest, *, json: bool, details: bool, color: str) -> int:
    """Print where the guest ranges of an image lie; returns the exit status.

    What fails about the image is told on standard error. Raises OSError when standard output
    cannot be written.
    """
    from qcow2_dump.operations.viewing_map import open_map

    try:
        with open_map(request) as run, warning_of_writers("map", run.image):
            output = Output()
            output.lines(_json(run, details) if json else _text(run, details, color))
            output.flush()
    except Qcow2Error as error:
        return report_failure("map", request.image, error)
    return exit_status.OK


def _json(run: "MapRun", details: bool) -> Iterator[str]:
    from qcow2_dump.report.map_report import map_json

    return map_json(run.batches(), run.tree, run.disk, details=details)


def _text(run: "MapRun", details: bool, color: str) -> Iterator[str]:
    from qcow2_dump.report.map_report import map_table
    from qcow2_dump.report.places import Trees

    name = Trees(run.image).name(run.tree.label)
    style = Style(wants_color(color))
    return map_table(run.batches(), run.disk, name, details=details, style=style)
