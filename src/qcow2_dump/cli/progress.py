"""How far a run has come, shown where somebody can see it."""

import sys
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from qcow2_dump.report.progress import ProgressBar

__all__ = ["progress"]


def progress() -> "AbstractContextManager[ProgressBar | None]":
    """A bar where standard error is a terminal; nothing is imported for it elsewhere."""
    if sys.stderr is None or not sys.stderr.isatty():
        return nullcontext()
    from qcow2_dump.report.progress import ProgressBar

    return ProgressBar(sys.stderr)
