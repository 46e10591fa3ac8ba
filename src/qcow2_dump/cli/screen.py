"""The terminal that a report is shown on: how large it is, and which characters it takes."""

import codecs
import os
import shutil
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
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
    return Paper(columns, _takes_unicode(), Style(wants_color(color)), endless=_is_endless())


def screen_lines() -> int:
    """The lines of the terminal; 24 where there is none."""
    return shutil.get_terminal_size().lines


def _is_endless() -> bool:
    """Whether there is no width to keep to: nobody gave one, and there is no terminal."""
    return not os.environ.get("COLUMNS") and not (sys.stdout and sys.stdout.isatty())


def _takes_unicode() -> bool:
    """Whether blocks and shapes can be shown, or only ASCII."""
    told = os.environ.get("PYTHONIOENCODING") or os.environ.get("PYTHONUTF8") == "1"
    if not told and _locale() in ("C", "POSIX"):
        return False
    encoding = getattr(sys.stdout, "encoding", None) or "ascii"
    try:
        return codecs.lookup(encoding).name.startswith("utf")
    except LookupError:
        return False


def _locale() -> str:
    """The locale of characters as the user set it, empty where nobody did.

    In the locale C Python goes over to UTF-8, and says so in its own environment: what it was
    before is only known to the system.
    """
    given: Mapping[str, str] = os.environ
    with suppress(OSError):
        pairs = os.fsdecode(Path("/proc/self/environ").read_bytes()).split("\0")
        given = dict(pair.split("=", 1) for pair in pairs if "=" in pair)
    return next(filter(None, map(given.get, ("LC_ALL", "LC_CTYPE", "LANG"))), "")
