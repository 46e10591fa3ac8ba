"""The command on a terminal: a pseudo-terminal that answers what it is asked."""

import os
import pty
import subprocess
from pathlib import Path

from tests.cli.running import COMMAND, SECONDS, environment


def run_on_terminal(answers: str, *words: str | Path) -> tuple[int, str, str]:
    """Run the command with a terminal as standard input and standard error.

    Returns its status, what it wrote to standard output, and what the terminal showed.
    """
    main, side = pty.openpty()
    try:
        os.write(main, answers.encode())
        done = subprocess.run(
            [*COMMAND, *(str(word) for word in words)],
            stdin=side,
            stdout=subprocess.PIPE,
            stderr=side,
            env=environment(NO_COLOR="1", TERM="dumb"),
            timeout=SECONDS,
            check=False,
        )
        shown = os.read(main, 1 << 16).decode()
    finally:
        os.close(main)
        os.close(side)
    assert "Traceback" not in shown, shown
    return done.returncode, done.stdout.decode(), shown
