"""A qemu-io that holds an image open while a test looks at it."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def qemu_holding(path: Path, *flags: str) -> Iterator[int]:
    """Have qemu-io open an image, with ``flags`` such as ``-r``; gives its process number."""
    with subprocess.Popen(
        ["qemu-io", *flags, "-f", "qcow2", str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        # What it answers to a command tells that the image is open.
        process.stdin.write("length\n")
        process.stdin.flush()
        assert "64 MiB" in process.stdout.readline()
        try:
            yield process.pid
        finally:
            process.stdin.write("quit\n")
            process.stdin.close()
            process.stdout.read()
    assert process.returncode == 0
