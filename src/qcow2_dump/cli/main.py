"""The entry point of the ``qcow2-dump`` command: which face reads the line, and what went wrong."""

import os
import sys
from collections.abc import Sequence

from qcow2_dump.cli import exit_status
from qcow2_dump.cli.modern import COMPLETE, SUBCOMMANDS
from qcow2_dump.cli.output import complain, discard_output
from qcow2_dump.cli.signals import Stopped, stop_on_signals
from qcow2_dump.errors import Qcow2Error, RequestError

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line (default: that of the process); returns the exit status."""
    words = list(sys.argv[1:] if argv is None else argv)
    speaker = "qcow2-dump"
    if words and words[0] in SUBCOMMANDS:
        speaker += f" {words[0]}"
    try:
        with stop_on_signals():
            return _run(words)
    except BrokenPipeError:
        discard_output()
        return exit_status.BROKEN_PIPE
    except (Qcow2Error, OSError) as error:
        discard_output()
        complain(f"{speaker}: {_reason(error, speaker)}")
        return exit_status.of_errno(error.errno)
    except Stopped as stopped:
        discard_output()
        return exit_status.of_signal(stopped.number)
    except Exception as error:  # no traceback ever reaches an operator
        if os.environ.get("QCOW2_DUMP_TRACEBACK"):
            raise
        discard_output()
        complain(
            f"{speaker}: internal error: {type(error).__name__}: {error} "
            "(set QCOW2_DUMP_TRACEBACK=1 to see where)"
        )
        return exit_status.of_errno(None)


def _run(words: Sequence[str]) -> int:
    """Let the face that a line belongs to read it, and do what it asks for.

    Pages are printed without loading what reads the lines.
    """
    if not words:
        _print_main_page()
        return exit_status.USAGE
    first = words[0]
    if first == "--help":
        _print_main_page()
        return exit_status.OK
    if first == COMPLETE:
        from qcow2_dump.cli.completion import complete

        return complete(words[1:])
    from qcow2_dump.cli.dispatch import dispatch

    if first in SUBCOMMANDS:
        from qcow2_dump.cli import modern

        return dispatch(modern.parse(words))
    from qcow2_dump.cli import classic

    _refuse_what_is_nearly_a_command(first)
    return dispatch(classic.parse(words))


def _print_main_page() -> None:
    from qcow2_dump.cli.help_screen import help_lines
    from qcow2_dump.cli.modern import main_page
    from qcow2_dump.cli.output import Output

    output = Output()
    output.lines(help_lines(main_page()))
    output.flush()


def _refuse_what_is_nearly_a_command(word: str) -> None:
    """Tell who mistyped a command, rather than look for an image of that name."""
    if word.startswith("-") or os.path.lexists(word):
        return
    from difflib import get_close_matches

    close = get_close_matches(word, SUBCOMMANDS, n=1)
    if close:
        raise RequestError(f"{word!r} is neither a command nor a file; did you mean {close[0]}?")


def _reason(error: Qcow2Error | OSError, speaker: str) -> str:
    """What failed, on one line; for a usage error also where help is."""
    from qcow2_dump.cli.usage import UsageError
    from qcow2_dump.report.escape import printable

    if isinstance(error, UsageError):
        page = "-h" if speaker == "qcow2-dump" else "--help"
        return f"{error} (see {speaker} {page})"
    if not isinstance(error, OSError):
        return str(error)
    reason = error.strerror or str(error)
    return f"{printable(error.filename)}: {reason}" if error.filename else f"cannot write: {reason}"
