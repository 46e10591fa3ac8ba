"""The read locks, against the real qemu-io and qemu-img."""

import errno
import fcntl
import os
import struct
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import pytest

from qcow2_dump.errors import LockedError, SourceError
from qcow2_dump.events import Event, ImageChecked, Progress, WriterSeen
from qcow2_dump.image.image import open_image
from qcow2_dump.operations.checking import run_checks
from qcow2_dump.operations.requests import CheckRequest
from qcow2_dump.storage.file import FileSource
from qcow2_dump.storage.lock_holders import lock_holder
from tests.builder.std import std_image
from tests.support.holder import qemu_holding
from tests.support.qemu import require_qemu, run_tool


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    return std_image().write_to(tmp_path / "disk.qcow2")


@pytest.fixture
def source(disk: Path) -> Iterator[FileSource]:
    with FileSource(disk) as opened:
        yield opened


def qemu_accepts(disk: Path, *words: str) -> bool:
    """Whether a QEMU tool can open the image in this way."""
    done = run_tool(*words, "-f", "qcow2", disk)
    assert done.returncode == 0 or "lock" in done.stderr, done.stderr
    return done.returncode == 0


WRITERS = [("qemu-io", "-c", "length"), ("qemu-img", "check", "-r", "all")]
READERS = [("qemu-io", "-r", "-c", "length"), ("qemu-img", "check"), ("qemu-img", "info")]


def test_a_writer_is_in_the_way(disk: Path, source: FileSource) -> None:
    require_qemu()
    assert not source.is_being_written()
    with qemu_holding(disk) as process:
        assert source.is_being_written()
        with pytest.raises(LockedError) as caught:
            source.lock()
        said = str(caught.value)
        command = f"qemu-io -f qcow2 {disk}"
        assert said == f"qemu-io (process {process}: {command}) has it open for writing"
        assert caught.value.errno == errno.EBUSY
        assert lock_holder(source.fileno(), 102) is None
    assert not source.is_being_written()
    assert all(qemu_accepts(disk, *words) for words in WRITERS)


@pytest.mark.parametrize("flags", [("-r",), ("-r", "-U")])
def test_readers_do_not_mind_each_other(
    disk: Path, source: FileSource, flags: tuple[str, ...]
) -> None:
    require_qemu()
    with qemu_holding(disk, *flags):
        source.lock()
        assert not source.is_being_written()
        with open_image(disk, lock=True):
            pass


def test_our_lock_keeps_writers_out_until_the_image_is_closed(disk: Path) -> None:
    require_qemu()
    with open_image(disk, lock=True):
        # Closing another descriptor of the file would end a lock of the classic kind.
        open_image(disk).close()
        assert not any(qemu_accepts(disk, *words) for words in WRITERS)
        assert all(qemu_accepts(disk, *words) for words in READERS)
    assert all(qemu_accepts(disk, *words) for words in WRITERS)


def hold(disk: Path, kind: int, byte: int, length: int = 1) -> int:
    """Lock bytes of an image as another open file; returns its descriptor."""
    fd = os.open(disk, os.O_RDWR)
    fcntl.fcntl(fd, fcntl.F_OFD_SETLK, _flock(kind, byte, length))
    return fd


def _flock(kind: int, byte: int, length: int) -> bytes:
    return struct.pack("@hhqqi", kind, os.SEEK_SET, byte, length, 0)


@pytest.mark.parametrize(
    ("kind", "byte", "length", "words"),
    [
        (fcntl.F_RDLCK, 101, 1, "somebody has it open for writing"),
        (fcntl.F_RDLCK, 103, 1, "somebody has it open for writing"),
        (fcntl.F_RDLCK, 200, 1, "somebody has it open for itself alone"),
        (fcntl.F_WRLCK, 100, 105, "somebody has it open for itself alone"),
        (fcntl.F_WRLCK, 203, 1, "somebody has it open for itself alone"),
        (fcntl.F_RDLCK, 100, 1, None),
        (fcntl.F_RDLCK, 102, 1, None),
        (fcntl.F_RDLCK, 201, 3, None),
        (fcntl.F_WRLCK, 0, 100, None),
    ],
)
def test_which_bytes_matter(
    disk: Path, source: FileSource, kind: int, byte: int, length: int, words: str | None
) -> None:
    other = hold(disk, kind, byte, length)
    try:
        if words is None:
            source.lock()
            return
        with pytest.raises(LockedError) as caught:
            source.lock()
        assert str(caught.value) == words
    finally:
        os.close(other)
    # Nothing was kept of what had been taken before the refusal.
    os.close(hold(disk, fcntl.F_WRLCK, 100, 105))


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EOPNOTSUPP, errno.EINVAL])
def test_a_file_system_without_such_locks(source: FileSource, number: int) -> None:
    failure = OSError(number, os.strerror(number))
    with mock.patch("fcntl.fcntl", side_effect=failure), pytest.raises(SourceError) as caught:
        source.lock()
    assert caught.value.errno == errno.ENOTSUP
    assert os.strerror(number) in str(caught.value)
    with mock.patch("fcntl.fcntl", side_effect=failure):
        assert not source.is_being_written()


def test_another_failure_is_told_as_it_is(source: FileSource) -> None:
    failure = OSError(errno.EIO, "Input/output error")
    with mock.patch("fcntl.fcntl", side_effect=failure), pytest.raises(SourceError) as caught:
        source.lock()
    assert caught.value.errno == errno.EIO


def test_a_writer_who_comes_during_a_check_is_seen_at_its_end(disk: Path) -> None:
    run = run_checks(CheckRequest(images=(str(disk),)))
    events: list[Event] = [next(run)]
    while not isinstance(events[-1], Progress):
        events.append(next(run))
    assert not any(isinstance(event, WriterSeen) for event in events)
    other = hold(disk, fcntl.F_RDLCK, 101)
    try:
        events += run
    finally:
        os.close(other)
    assert [type(event) for event in events[-2:]] == [WriterSeen, ImageChecked]
