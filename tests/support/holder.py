"""QEMU programs that hold an image open while a test looks at it."""

import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.tools import require_tool


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


@contextmanager
def daemon_holding(path: Path, *options: str) -> Iterator[int]:
    """Have qemu-storage-daemon open an image; gives its process number.

    ``options`` are of both block nodes, such as ``read-only=on``.
    """
    daemon = require_tool("qemu-storage-daemon", "an image that it holds")
    ready = path.with_name(path.name + ".pid")
    file = ["driver=file", "node-name=file", f"filename={path}", *options]
    qcow2 = ["driver=qcow2", "node-name=qcow2", "file=file", *options]
    with subprocess.Popen(
        [
            daemon,
            *("--blockdev", ",".join(file)),
            *("--blockdev", ",".join(qcow2)),
            *("--pidfile", str(ready)),
        ]
    ) as process:
        try:
            # It writes its number once all that it was told is open.
            while not ready.exists():
                assert process.poll() is None, "qemu-storage-daemon did not start"
                time.sleep(0.01)
            yield process.pid
        finally:
            process.terminate()
            process.wait()
            ready.unlink(missing_ok=True)
