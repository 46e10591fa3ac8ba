"""Whether the user agrees to a change: asked on a terminal, and only there."""

import sys

from qcow2_dump.report.escape import printable

__all__ = ["agrees", "can_ask", "choose_one"]


def can_ask() -> bool:
    """Whether there is somebody to ask: standard input and standard error are a terminal."""
    return all(stream is not None and stream.isatty() for stream in (sys.stdin, sys.stderr))


def agrees(image: str) -> bool:
    """Ask whether the changes that were shown may be written; anything but yes is no."""
    answer = _answer(f"Write these changes to {printable(image)}? [y/N] ")
    return answer in ("y", "yes")


def choose_one(question: str, choices: dict[str, str], default: str) -> str:
    """Ask for one of some choices, by their names or first letters; ``default`` for all else.

    ``choices`` has what each means, by its name.
    """
    lines = [question, *(f"  {name}: {means}" for name, means in choices.items())]
    answer = _answer("\n".join(lines) + f"\n{' / '.join(choices)} [{default}] ")
    return next((name for name in choices if answer in (name, name[0])), default)


def _answer(question: str) -> str:
    sys.stderr.write(question)
    sys.stderr.flush()
    # The end of the input is no answer, and on the terminal its line has not ended.
    line = sys.stdin.readline(1000)
    if not line.endswith("\n"):
        sys.stderr.write("\n")
    return line.strip().lower()
