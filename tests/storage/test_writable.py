"""What may be written to: contract of a source, writing, growing, and how each of them fails."""

import errno
import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qcow2_dump.errors import SourceError
from qcow2_dump.storage.base import ByteSource
from qcow2_dump.storage.writable import WritableFile
from tests.storage.contract import CONTENT, SourceContract
from tests.support.small_disk import small_disk


class TestWritable(SourceContract):
    """It reads as every source does."""

    def make(self, content: bytes, tmp_path: Path) -> ByteSource:
        path = tmp_path / "file"
        path.write_bytes(content)
        return WritableFile(path)


@pytest.fixture
def file(tmp_path: Path) -> Iterator[WritableFile]:
    (tmp_path / "file").write_bytes(CONTENT)
    with WritableFile(tmp_path / "file") as opened:
        yield opened


@settings(max_examples=50, deadline=None)
@given(
    start=st.binary(max_size=60),
    writes=st.lists(st.tuples(st.integers(0, 100), st.binary(max_size=40)), max_size=6),
    size=st.integers(0, 150),
)
def test_what_is_written_is_there(
    start: bytes,
    writes: list[tuple[int, bytes]],
    size: int,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    path = tmp_path_factory.mktemp("written") / "file"
    path.write_bytes(start)
    expected = bytearray(start)
    with WritableFile(path) as file:
        for offset, data in writes:
            file.write_at(offset, data)
            if data:
                expected.extend(bytes(max(0, offset + len(data) - len(expected))))
                expected[offset : offset + len(data)] = data
            assert (file.size, file.read(0, 200)) == (len(expected), expected.ljust(200, b"\0"))
        file.resize(size)
        file.sync()
        assert file.size == size
    assert path.read_bytes() == expected[:size].ljust(size, b"\0")


def test_it_takes_what_holds_bytes(file: WritableFile) -> None:
    for data in (b"abc", bytearray(b"abc"), memoryview(b"abc"), memoryview(b"abcdefgh").cast("H")):
        file.write_at(7, data)
        assert file.read(7, len(data) if isinstance(data, bytes) else 3)[:3] == b"abc"
    file.write_at(2**62, b"")
    assert file.size == len(CONTENT)


def test_the_system_takes_it_in_pieces(file: WritableFile, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda fd, data, at: whole(fd, data[:7], at))
    file.write_at(3, CONTENT[::-1][:100])
    assert file.read(3, 100) == CONTENT[::-1][:100]


def test_its_own_writes_are_nobody_elses(file: WritableFile) -> None:
    os.utime(file.name, ns=(1, 1))
    file.write_at(0, b"x")
    assert not file.has_changed()


def test_a_link_is_followed(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"abc")
    (tmp_path / "link").symlink_to("file")
    with WritableFile(tmp_path / "link") as file:
        file.write_at(0, b"x")
        assert (file.can_grow, file.locked) == (True, True)
    assert (tmp_path / "file").read_bytes() == b"xbc"


def test_what_can_not_be_an_image_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    for name, number in [
        ("", errno.EISDIR),
        ("fifo", errno.EINVAL),
        ("missing", errno.ENOENT),
        ("nul\0", errno.EINVAL),
        ("/dev/full", errno.EINVAL),
    ]:
        with pytest.raises(SourceError) as caught:
            WritableFile(tmp_path / name)
        assert caught.value.errno == number, name


def test_a_closed_file(file: WritableFile) -> None:
    file.close()
    file.close()
    for call in (lambda: file.write_at(0, b"x"), file.sync, lambda: file.resize(0)):
        with pytest.raises(SourceError) as caught:
            call()
        assert caught.value.errno == errno.EBADF


@pytest.mark.parametrize("offset", [2**63 - 1, 2**63, 2**70, -1, -(2**70)])
def test_an_impossible_offset(file: WritableFile, offset: int) -> None:
    with pytest.raises(SourceError, match="cannot write at offset"):
        file.write_at(offset, b"ab")
    assert file.size == len(CONTENT)


@pytest.mark.parametrize("size", [2**62, 2**63, 2**70, -1])
def test_an_impossible_size(file: WritableFile, size: int) -> None:
    with pytest.raises(SourceError, match="cannot be resized to"):
        file.resize(size)
    assert file.size == len(CONTENT) == os.fstat(file.fileno()).st_size


# Run by itself, since the limit is one of a whole process.
_LIMITED = """
import resource, sys
from qcow2_dump.errors import SourceError
from qcow2_dump.storage.writable import WritableFile
resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))
with WritableFile(sys.argv[1]) as file:
    file.write_at(9_990, b"x" * 10)
    for call in (lambda: file.write_at(9_995, b"y" * 10), lambda: file.resize(20_000)):
        try:
            call()
        except SourceError as error:
            print(error.errno, error)
    print(file.size)
"""


def test_a_limit_on_the_size_of_files(tmp_path: Path) -> None:
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] == resource.RLIM_INFINITY
    path = tmp_path / "file"
    path.touch()
    done = subprocess.run(
        [sys.executable, "-c", _LIMITED, path], capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines() == [
        f"{errno.EFBIG} cannot write at offset 0x2710: File too large",
        f"{errno.EFBIG} cannot be resized to 20,000 bytes: File too large",
        "10000",
    ]
    assert path.read_bytes()[9_990:] == b"xxxxxyyyyy"


def test_a_full_disk(tmp_path: Path) -> None:
    with small_disk(tmp_path, 64 << 10) as place:
        path = place / "file"
        path.write_bytes(bytes(4096))
        with WritableFile(path) as file:
            with pytest.raises(SourceError) as caught:
                file.resize(1 << 20)
            assert caught.value.errno == errno.ENOSPC
            assert file.size == path.stat().st_size == 4096
            file.resize(32 << 10)
            with pytest.raises(SourceError, match=r"cannot write at offset 0x10000: No space"):
                file.write_at(0, b"x" * (1 << 20))
            assert file.size == path.stat().st_size == 64 << 10


@pytest.mark.parametrize("number", [errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL])
def test_a_file_system_that_cannot_set_room_aside(file: WritableFile, number: int) -> None:
    failure = OSError(number, os.strerror(number))
    with mock.patch("os.posix_fallocate", side_effect=failure):
        file.resize(1 << 20)
    assert file.size == os.fstat(file.fileno()).st_size == 1 << 20
    assert file.read(0, 1 << 20) == CONTENT.ljust(1 << 20, b"\0")


def test_a_resize_that_fails_half_way_tells_the_real_length(file: WritableFile) -> None:
    failure = OSError(errno.EIO, "Input/output error")
    with (
        mock.patch("os.ftruncate", side_effect=failure),
        pytest.raises(SourceError, match="cannot be resized to 32,768 bytes: Input/output"),
    ):
        file.resize(32 << 10)
    assert file.size == os.fstat(file.fileno()).st_size
    file.resize(len(CONTENT))
    assert os.fstat(file.fileno()).st_size == len(CONTENT)


def test_shrinking_sets_nothing_aside(file: WritableFile) -> None:
    with mock.patch("os.posix_fallocate", side_effect=AssertionError):
        file.resize(100)
    assert file.read(0, 200) == CONTENT[:100].ljust(200, b"\0")


def test_what_the_system_says_is_told_with_the_offset(file: WritableFile) -> None:
    failure = OSError(errno.EIO, "Input/output error")
    with (
        mock.patch("os.pwrite", side_effect=failure),
        pytest.raises(SourceError, match="cannot write at offset 0x123: Input/output") as caught,
    ):
        file.write_at(0x123, b"x")
    assert (caught.value.errno, caught.value.filename) == (errno.EIO, file.name)
    with mock.patch("os.fsync", side_effect=failure), pytest.raises(SourceError) as caught:
        file.sync()
    assert caught.value.errno == errno.EIO
    with mock.patch("os.pread", side_effect=failure), pytest.raises(SourceError, match="0x5"):
        file.read(5, 1)


def test_a_system_that_takes_nothing_does_not_hang(file: WritableFile) -> None:
    with mock.patch("os.pwrite", return_value=0), pytest.raises(SourceError) as caught:
        file.write_at(0, b"x")
    assert caught.value.errno == errno.EIO
