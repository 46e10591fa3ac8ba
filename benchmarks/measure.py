"""Run one program once: wall time, processor time, peak memory, and what it read.

The kernel carries the peak memory of the process that forks over to the child, so a peak
below the runner's own (some 20 MB: it loads no numpy) reads as the runner's.
"""

import os
import subprocess
import tempfile
import threading
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path


class ProgramError(Exception):
    """A measured program did not do its work; the message says what it said."""


@dataclass(frozen=True, slots=True)
class Run:
    """One run: seconds on the clock, seconds of user and system time, bytes at the peak."""

    wall: float
    cpu: float
    peak: int
    stopped: bool = False
    """The run was ended because it took longer than it was allowed."""
    reads: int = 0
    """Calls that read, those that load the program among them; 0 where the system does not tell."""
    bytes_read: int = 0
    """What these calls delivered."""
    page: int = 0
    """Bytes of the page that it wrote, if that is what it does."""


def measure(
    command: Sequence[str], output: Path, statuses: Collection[int], limit: float | None = None
) -> Run:
    """Run `command`, its standard output going to `output`, and stop it after `limit` seconds.

    Raises ProgramError when the exit status is not one of `statuses`.
    """
    with output.open("wb") as out, tempfile.TemporaryFile() as err:
        start = time.perf_counter()
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=err)
        late = threading.Event()
        timer = threading.Timer(limit or 0, _stop, [process, late])
        if limit is not None:
            timer.start()
        try:
            os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
            reads, bytes_read = _reads_of(process.pid)
            _, state, usage = os.wait4(process.pid, 0)
        except BaseException:
            process.kill()
            process.wait()
            raise
        finally:
            timer.cancel()
        wall = time.perf_counter() - start
        # Popen learns here that its child was already waited for.
        process.returncode = os.waitstatus_to_exitcode(state)
        if not late.is_set() and process.returncode not in statuses:
            err.seek(0)
            said = err.read().decode(errors="replace").strip()
            raise ProgramError(f"{' '.join(command)}: status {process.returncode}\n{said}")
    cpu = usage.ru_utime + usage.ru_stime
    return Run(wall, cpu, usage.ru_maxrss * 1024, late.is_set(), reads, bytes_read)


def empty_cache(path: Path) -> None:
    """Have the system forget what it holds of a file, so that the next read comes from storage."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(descriptor)


def _reads_of(process: int) -> tuple[int, int]:
    """Reads and bytes read of a process that has ended and was not yet waited for."""
    try:
        lines = Path(f"/proc/{process}/io").read_text("ascii").splitlines()
    except OSError:
        return 0, 0
    counted = dict(line.split(": ") for line in lines)
    return int(counted["syscr"]), int(counted["rchar"])


def _stop(process: subprocess.Popen[bytes], late: threading.Event) -> None:
    late.set()
    process.kill()
