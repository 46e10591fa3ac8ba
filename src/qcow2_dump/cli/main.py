"""The entry point of the ``qcow2-dump`` command."""

import os
import sys
from collections.abc import Sequence

from qcow2_dump.cli import exit_status
from qcow2_dump.cli.modern import COMMANDS, UsageError, run
from qcow2_dump.cli.output import complain, discard_output
from qcow2_dump.cli.signals import Stopped, stop_on_signals
from qcow2_dump.errors import Qcow2Error

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line (default: that of the process); returns the exit status."""
    words = list(sys.argv[1:] if argv is None else argv)
    command = next((word for word in words if word in COMMANDS), "")
    speaker = f"qcow2-dump {command}".rstrip()
    try:
        with stop_on_signals():
            return run(words)
    except UsageError as error:
        complain(str(error))
        return exit_status.USAGE
    except BrokenPipeError:
        discard_output()
        return exit_status.BROKEN_PIPE
    except (Qcow2Error, OSError) as error:
        discard_output()
        complain(f"{speaker}: {_reason(error)}")
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


def _reason(error: Qcow2Error | OSError) -> str:
    if not isinstance(error, OSError):
        return str(error)
    reason = error.strerror or str(error)
    return f"{error.filename}: {reason}" if error.filename else f"cannot write: {reason}"
