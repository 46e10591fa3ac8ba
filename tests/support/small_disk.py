"""A file system that is soon full, where the system lets us mount one."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


@contextmanager
def small_disk(folder: Path, size: int) -> Iterator[Path]:
    """A tmpfs of ``size`` bytes mounted on a new folder below ``folder``.

    Skips the test loudly where none can be mounted; fails it where QCOW2_DUMP_FULL is set.
    """
    place = folder / "small-disk"
    place.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(place)],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode == 0:
        try:
            yield place
        finally:
            subprocess.run(["umount", str(place)], check=True)
        return
    message = f"A FULL DISK WAS NOT TESTED: {done.stderr.strip()}"
    if os.environ.get("QCOW2_DUMP_FULL"):
        pytest.fail(message)
    pytest.skip(message)
