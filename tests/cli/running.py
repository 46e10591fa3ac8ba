"""The command as a process of its own: what a shell sees of it."""

import os
import subprocess
import sys
from pathlib import Path
from typing import IO, Any

import qcow2_dump

SECONDS = 60
SOURCE = Path(qcow2_dump.__path__[0]).parent
COMMAND = (sys.executable, "-m", "qcow2_dump")


# Those who run tests side by side set them.
_TERMINAL = ("COLUMNS", "LINES")


def environment(**changes: str) -> dict[str, str]:
    """The environment of a process that finds the package, and knows of no terminal."""
    inherited = {name: value for name, value in os.environ.items() if name not in _TERMINAL}
    return {**inherited, "PYTHONPATH": str(SOURCE), **changes}


def run(
    *words: str | Path, stdout: int | IO[Any] = subprocess.PIPE, **changes: str
) -> subprocess.CompletedProcess[str]:
    """Run the command to its end. No run may ever show a traceback."""
    done = subprocess.run(
        [*COMMAND, *(str(word) for word in words)],
        stdout=stdout,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(**changes),
        timeout=SECONDS,
        check=False,
    )
    assert "Traceback" not in done.stderr, done.stderr
    assert "Exception ignored" not in done.stderr, done.stderr
    return done
