"""The command as a process of its own, with its time and memory limited and measured."""

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import qcow2_dump

SOURCE = Path(qcow2_dump.__path__[0]).parent

CPU_SECONDS = 20
"""A guard against hanging, not a benchmark: hardly any of these images takes a quarter of it."""
WALL_SECONDS = 120
ADDRESS_SPACE = 12 << 30

# Peak memory is that of a process, and starts with what its parent had: this one has little.
_LAUNCH = """
import os, resource, sys
seconds, space, report = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 5))
resource.setrlimit(resource.RLIMIT_AS, (space, space))
pid = os.posix_spawn(sys.argv[4], sys.argv[4:], os.environ)
_, status, usage = os.wait4(pid, 0)
with open(report, "w") as file:
    file.write(str(usage.ru_maxrss))
sys.exit(os.waitstatus_to_exitcode(status) % 256)
"""


@dataclass(frozen=True)
class Outcome:
    """One run: exit status, what was printed, peak resident memory in MiB."""

    status: int
    stdout: str
    stderr: str
    peak: int

    @property
    def document(self) -> dict[str, Any]:
        """The JSON document that was printed."""
        document: dict[str, Any] = json.loads(self.stdout)
        return document

    @property
    def codes(self) -> set[str]:
        """The codes of all findings in the JSON document."""
        return set(self.document["kinds"])


def check(path: Path, *options: str, most: int = 100) -> Outcome:
    """Check an image in a process that may take ``most`` MiB; it must come to a verdict."""
    command = [sys.executable, "-m", "qcow2_dump", "check", *options, str(path)]
    outcome = run(command, most=most)
    assert outcome.status <= 8, (outcome.status, outcome.stderr)
    assert not outcome.stderr
    return outcome


def run(command: Sequence[str], *, most: int = 100, cwd: Path | None = None) -> Outcome:
    """Run a program to its end.

    AssertionError when it takes too long or too much memory, shows a traceback or an internal
    error, or is killed.
    """
    with tempfile.NamedTemporaryFile() as report:
        limits = [str(CPU_SECONDS), str(ADDRESS_SPACE), report.name]
        process = subprocess.Popen(
            [sys.executable, "-S", "-c", _LAUNCH, *limits, *command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": str(SOURCE)},
            start_new_session=True,
            cwd=cwd,
        )
        try:
            stdout, stderr = process.communicate(timeout=WALL_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            raise AssertionError(f"hangs for {WALL_SECONDS} s: {command}") from None
        peak = int(Path(report.name).read_text()) >> 10
    outcome = Outcome(process.returncode, stdout.decode(), stderr.decode(), peak)
    assert outcome.status != 256 - signal.SIGXCPU, f"more than {CPU_SECONDS} s of CPU: {command}"
    assert "Traceback" not in outcome.stderr, outcome.stderr
    assert "internal error" not in outcome.stderr, outcome.stderr
    assert peak <= most, f"{peak} MiB at the peak, more than {most}"
    return outcome
