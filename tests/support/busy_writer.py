"""Real QEMUs that write all over an image while a test looks at it."""

import random
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.qemu import run_tool

_MIB = 1 << 20


def used_image(path: Path, options: str, size: int, seed: int) -> Path:
    """An image of ``size`` bytes that was used, has a snapshot, and was used again."""
    made = run_tool("qemu-img", "create", "-q", "-f", "qcow2", "-o", options, path, str(size))
    assert made.returncode == 0, made.stderr
    lot = random.Random(seed)
    for _ in range(2):
        commands = [part for _ in range(40) for part in ("-c", _command(lot, size))]
        run_tool("qemu-io", "-f", "qcow2", *commands, path)
        run_tool("qemu-img", "snapshot", "-c", f"s{lot.random()}", path)
    return path


@contextmanager
def busy_writer(path: Path, size: int, seed: int) -> Iterator[None]:
    """Have qemu-io write, zero and discard all over an image of ``size`` bytes until the end.

    Its caches are small, so that tables reach the file early and often.
    """
    options = f"driver=qcow2,file.driver=file,file.filename={path},discard=unmap"
    options += ",l2-cache-size=65536,refcount-cache-size=65536"
    with subprocess.Popen(
        ["qemu-io", "--image-opts", options],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        pipesize=4096,  # what is told and not yet done has to be done at the end
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write("length\n")
        process.stdin.flush()
        assert " MiB" in process.stdout.readline()
        stop = threading.Event()
        threads = [
            threading.Thread(target=_feed, args=(process, size, seed, stop)),
            # What it answers has to be read, or it would wait.
            threading.Thread(target=process.stdout.read),
        ]
        for thread in threads:
            thread.start()
        try:
            yield
            assert process.poll() is None, "the writer died"
        finally:
            stop.set()
            threads[0].join()
            process.stdin.close()
            threads[1].join()
    assert process.returncode == 0


@contextmanager
def passing_writers(path: Path, size: int, seed: int) -> Iterator[None]:
    """Have one qemu-io after the other open the image, change a little, and close it."""
    stop = threading.Event()

    def pass_by() -> None:
        lot = random.Random(seed)
        while not stop.is_set():
            commands = [part for _ in range(3) for part in ("-c", _command(lot, size))]
            run_tool("qemu-io", "-f", "qcow2", *commands, path)

    thread = threading.Thread(target=pass_by)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def _feed(process: "subprocess.Popen[str]", size: int, seed: int, stop: threading.Event) -> None:
    assert process.stdin is not None
    lot = random.Random(seed)
    while not stop.is_set():
        process.stdin.write(_command(lot, size) + "\n")
        process.stdin.flush()


def _command(lot: random.Random, size: int) -> str:
    length = lot.choice((512, 4096, 65536, _MIB))
    place = f"{lot.randrange(0, size - length, 512)} {length}"
    kind = lot.choice(("write", "write", "write", "write -z", "write -z -u", "discard", "flush"))
    if kind == "write":
        return f"write -P {lot.randrange(1, 256)} {place}"
    return kind if kind == "flush" else f"{kind} {place}"
