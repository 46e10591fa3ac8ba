"""The lock of whoever changes an image, against the real programs of QEMU."""

import errno
import fcntl
import os
import signal
import struct
import subprocess
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from unittest import mock

import pytest

from qcow2_dump.errors import LockedError, SourceError
from qcow2_dump.image.image import open_image
from qcow2_dump.storage.file import FileSource
from qcow2_dump.storage.writable import WritableFile
from tests.builder.std import std_image
from tests.support.holder import daemon_holding, qemu_holding
from tests.support.qemu import require_qemu, run_tool

Holding = Callable[[Path], AbstractContextManager[int]]


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    return std_image().write_to(tmp_path / "disk.qcow2")


HOLDERS: dict[str, tuple[Holding, str]] = {
    "qemu-io": (qemu_holding, "has it open for writing"),
    "qemu-io -r": (lambda path: qemu_holding(path, "-r"), "has it open"),
    "qemu-io -r -U": (lambda path: qemu_holding(path, "-r", "-U"), "has it open"),
    "qemu-storage-daemon": (daemon_holding, "has it open for writing"),
    "qemu-storage-daemon read-only": (
        lambda path: daemon_holding(path, "read-only=on"),
        "has it open",
    ),
    "qemu-storage-daemon force-share": (
        lambda path: daemon_holding(path, "read-only=on", "force-share=on"),
        "has it open",
    ),
}


@pytest.mark.parametrize("who", HOLDERS)
def test_whoever_has_it_open_is_in_the_way_and_named(disk: Path, who: str) -> None:
    require_qemu()
    hold, what = HOLDERS[who]
    before = disk.read_bytes()
    with hold(disk) as process:
        for forced in (False, True):
            with pytest.raises(LockedError) as caught:
                WritableFile(disk, force_unlocked=forced)
            program, _, said = str(caught.value).partition(" ")
            assert program == who.partition(" ")[0][:15]  # what the kernel keeps of a name
            assert said.startswith(f"(process {process}: ")
            assert said.endswith(f") {what}")
            assert str(disk) in said
            assert caught.value.errno == errno.EBUSY
    assert disk.read_bytes() == before
    WritableFile(disk).close()


QEMU = [
    ("qemu-io", "-f", "qcow2", "-c", "length"),
    ("qemu-io", "-r", "-f", "qcow2", "-c", "length"),
    ("qemu-io", "-r", "-U", "-f", "qcow2", "-c", "length"),
    ("qemu-io", "-f", "raw", "-c", "length"),
    ("qemu-img", "check", "-f", "qcow2"),
    ("qemu-img", "check", "-U", "-f", "qcow2"),
    ("qemu-img", "check", "-r", "all", "-f", "qcow2"),
]


def refused(disk: Path) -> list[bool]:
    """Whether each of QEMU's ways to open an image fails, for want of a lock."""
    done = [run_tool(*words, disk) for words in QEMU]
    assert all(run.returncode == 0 or "lock" in run.stderr for run in done)
    return [run.returncode != 0 for run in done]


def test_ours_keeps_everybody_out(disk: Path) -> None:
    require_qemu()
    with WritableFile(disk) as file:
        # Closing another descriptor of the file would end a lock of the classic kind.
        open_image(disk).close()
        assert file.locked
        assert not file.is_being_written()
        assert refused(disk) == [True] * len(QEMU)
        with pytest.raises(LockedError, match="somebody has it open for itself alone"):
            WritableFile(disk, force_unlocked=True)
        with FileSource(disk) as reader:
            assert reader.is_being_written()
            with pytest.raises(LockedError):
                reader.lock()
    assert refused(disk) == [False] * len(QEMU)


_HOLD = """
import sys
from qcow2_dump.storage.writable import WritableFile
file = WritableFile(sys.argv[1])
print("held", flush=True)
sys.stdin.read()
"""


def test_killed_the_lock_is_gone(disk: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", _HOLD, disk],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        with pytest.raises(LockedError) as caught:
            WritableFile(disk)
        assert f"(process {process.pid}: " in str(caught.value)
        assert str(caught.value).endswith(") has it open for itself alone")
        process.send_signal(signal.SIGKILL)
        process.wait()
        with WritableFile(disk) as file:
            assert file.locked


@pytest.mark.parametrize("byte", [99, 100, 102, 104, 150, 200, 204, 205])
def test_every_byte_of_the_range_matters_and_no_other(disk: Path, byte: int) -> None:
    other = os.open(disk, os.O_RDONLY)
    try:
        lock = struct.pack("@hhqqi", fcntl.F_RDLCK, os.SEEK_SET, byte, 1, 0)
        fcntl.fcntl(other, fcntl.F_OFD_SETLK, lock)
        if byte in (99, 205):
            WritableFile(disk).close()
            return
        with pytest.raises(LockedError, match="somebody has it open"):
            WritableFile(disk)
    finally:
        os.close(other)
    # A refusal leaves nothing behind.
    WritableFile(disk).close()


def test_nothing_is_read_before_the_lock_is_held(disk: Path) -> None:
    with FileSource(disk) as reader:
        reader.lock()
        with (
            mock.patch("os.preadv", side_effect=AssertionError),
            mock.patch("os.pread", side_effect=AssertionError),
            pytest.raises(LockedError),
        ):
            WritableFile(disk)


def test_the_size_is_that_of_the_moment_when_the_lock_is_held(disk: Path) -> None:
    def lock_late(*_: object, **__: object) -> bool:
        os.truncate(disk, 12345)
        return True

    with (
        mock.patch("qcow2_dump.storage.writable.take_write_lock", lock_late),
        WritableFile(disk) as file,
    ):
        assert file.size == 12345


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EOPNOTSUPP, errno.EINVAL])
def test_a_file_system_without_such_locks(disk: Path, number: int) -> None:
    failure = OSError(number, os.strerror(number))
    with mock.patch("fcntl.fcntl", side_effect=failure):
        with pytest.raises(
            SourceError, match=r"no locks like QEMU's .* --force-unlocked"
        ) as caught:
            WritableFile(disk)
        assert caught.value.errno == errno.ENOTSUP
        with WritableFile(disk, force_unlocked=True) as file:
            assert not file.locked
            file.write_at(0, file.read(0, 4))


def test_another_failure_is_told_as_it_is(disk: Path) -> None:
    failure = OSError(errno.EIO, "Input/output error")
    with mock.patch("fcntl.fcntl", side_effect=failure), pytest.raises(SourceError) as caught:
        WritableFile(disk, force_unlocked=True)
    assert caught.value.errno == errno.EIO
