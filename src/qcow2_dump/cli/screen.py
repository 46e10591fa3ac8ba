"""The terminal that a report is shown on: how large it is, and which characters it takes."""

import codecs
import shutil
import sys
from typing import TYPE_CHECKING

from qcow2_dump.cli.output import wants_color

if TYPE_CHECKING:
    from qcow2_dump.report.paper import Paper

__all__ = ["paper", "screen_lines"]

# Wider than this nobody reads along a line.
_WIDEST = 200


def paper(color: str) -> "Paper":
    """What standard output can be written on. ``color`` as `wants_color` takes it."""
    from qcow2_dump.report.paper import Paper
    from qcow2_dump.report.style import Style

    columns = min(_WIDEST, shutil.get_terminal_size().columns)
    return Paper(columns, _takes_unicode(), Style(wants_color(color)))


def screen_lines() -> int:
    """The lines of the terminal; 24 where there is none."""
    return shutil.get_terminal_size().lines


def _takes_unicode() -> bool:
    encoding = getattr(sys.stdout, "encoding", None) or "ascii"
    try:
        return codecs.lookup(encoding).name.startswith("utf")
    except LookupError:
        return False
