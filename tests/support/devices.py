"""Loop devices: block devices made of files, where the system lets us make them."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


@contextmanager
def loop_device(path: Path) -> Iterator[Path]:
    """A read-only block device over a file, whose length is a multiple of 512 bytes.

    Skips the test loudly where none can be made, as in most containers; fails it where
    QCOW2_DUMP_FULL is set.
    """
    losetup = shutil.which("losetup")
    why = "losetup is not installed"
    if losetup is not None:
        done = subprocess.run(
            [losetup, "--find", "--show", "--read-only", str(path)],
            capture_output=True,
            text=True,
            check=False,
        )
        why = done.stderr.strip()
        if done.returncode == 0:
            device = done.stdout.strip()
            try:
                yield Path(device)
            finally:
                subprocess.run([losetup, "--detach", device], check=True)
            return
    message = f"A BLOCK DEVICE WAS NOT TESTED: {why}"
    if os.environ.get("QCOW2_DUMP_FULL"):
        pytest.fail(message)
    pytest.skip(message)
