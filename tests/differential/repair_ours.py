"""Asking our own commands for a change: the one place that knows how they are started."""

from __future__ import annotations

import contextlib
import io
from dataclasses import dataclass
from pathlib import Path

from qcow2_dump.cli.main import main

STATUSES = frozenset({*range(9), *range(128, 256)})
"""Every status of the table of exit statuses."""


@dataclass(frozen=True)
class Ran:
    """What a command said, and its exit status."""

    status: int
    out: str
    err: str

    @property
    def said(self) -> str:
        """All that a person would read."""
        return self.out + self.err


def run(*words: str | Path) -> Ran:
    """Run a command line within this process, where a process of its own is not the point."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        status = main([str(word) for word in words])
    return Ran(status, out.getvalue(), err.getvalue())


def undo_files(path: Path) -> list[Path]:
    """The undo files beside an image, in the order of their numbers."""
    found = path.parent.glob(f"{path.name}.qcow2-undo*")
    return sorted(found, key=lambda file: (len(file.name), file.name))
