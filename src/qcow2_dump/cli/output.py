"""Standard output and standard error as they really are: closed, full, or in a narrow encoding."""

import errno
import os
import sys
from collections.abc import Iterable
from typing import TextIO

__all__ = ["Output", "complain", "discard_output", "wants_color"]


class Output:
    """Lines to standard output. Raises OSError when they cannot be written."""

    def __init__(self) -> None:
        if sys.stdout is None:  # closed by whoever started us
            raise OSError(errno.EBADF, "standard output is closed")
        _accept_any_text(sys.stdout)
        self._stream = sys.stdout

    def lines(self, lines: Iterable[str]) -> None:
        """Write lines, each with its line end."""
        for line in lines:
            self._stream.write(line + "\n")

    def text(self, pieces: Iterable[str]) -> None:
        """Write text as it is."""
        for piece in pieces:
            self._stream.write(piece)

    def flush(self) -> None:
        """Hand over what was written, so that a full disk is noticed now and not at the exit."""
        self._stream.flush()


def complain(line: str) -> None:
    """One line on standard error; lost in silence if that cannot be written."""
    if sys.stderr is None:
        return
    _accept_any_text(sys.stderr)
    try:
        sys.stderr.write(line + "\n")
        sys.stderr.flush()
    except OSError:
        discard_output(sys.stderr)


def discard_output(stream: TextIO | None = None) -> None:
    """Send what is still buffered nowhere; otherwise the interpreter fails on it at its end."""
    stream = sys.stdout if stream is None else stream
    if stream is None:
        return
    try:
        descriptor = stream.fileno()
    except (OSError, ValueError):  # not a real file
        return
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, descriptor)
    os.close(nowhere)


def wants_color(choice: str) -> bool:
    """Whether to use colours: ``always``, ``never``, or ``auto`` for a terminal that has them."""
    if choice != "auto":
        return choice == "always"
    if os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        return False
    return sys.stdout is not None and sys.stdout.isatty()


def _accept_any_text(stream: object) -> None:
    """Let characters that the encoding lacks be written as escapes."""
    reconfigure = getattr(stream, "reconfigure", None)
    if reconfigure is not None:
        reconfigure(errors="backslashreplace")
