"""The sources of bytes keep their contract, each in its way."""

import errno
import os
from contextlib import ExitStack
from pathlib import Path

import pytest

from qcow2_dump import SourceError
from qcow2_dump.storage.base import ByteSource
from qcow2_dump.storage.file import FileSource
from qcow2_dump.storage.memory import MemorySource
from qcow2_dump.storage.wrappers import CountingSource, FailingSource
from tests.storage.contract import CONTENT, SECTOR, SourceContract
from tests.support.devices import loop_device


def written(content: bytes, tmp_path: Path) -> Path:
    """A file of some bytes, with holes where whole blocks are zeros."""
    path = tmp_path / "file"
    with path.open("wb") as file:
        for start in range(0, len(content), 4096):
            if any(content[start : start + 4096]):
                os.pwrite(file.fileno(), content[start : start + 4096], start)
        file.truncate(len(content))
    return path


class TestFile(SourceContract):
    def make(self, content: bytes, tmp_path: Path) -> ByteSource:
        return FileSource(written(content, tmp_path))

    def test_holes_are_left_out(self, source: ByteSource) -> None:
        ranges = list(source.data_ranges(0, source.size))
        if ranges == [(0, source.size)]:
            pytest.skip("NOT TESTED: this file system has no holes")
        assert ranges == [(0, 4096), (32_768, len(CONTENT))]

    def test_reading_after_closing_is_an_error(self, source: ByteSource) -> None:
        source.close()
        with pytest.raises(SourceError) as caught:
            source.read(0, 1)
        assert caught.value.errno == errno.EBADF

    def test_what_is_cut_off_after_opening_reads_as_zeros(self, tmp_path: Path) -> None:
        path = written(CONTENT, tmp_path)
        with FileSource(path) as source:
            os.truncate(path, 100)
            assert source.read(0, 200) == CONTENT[:100] + bytes(100)
            assert list(source.data_ranges(0, source.size))[-1][1] <= 4096

    def test_once_more_it_has_the_size_of_now(self, tmp_path: Path) -> None:
        path = written(CONTENT, tmp_path)
        with FileSource(path) as source:
            path.rename(tmp_path / "elsewhere")
            os.truncate(tmp_path / "elsewhere", 1 << 20)
            with source.again() as again:
                assert (source.size, again.size) == (len(CONTENT), 1 << 20)
                source.close()
                assert again.read(0, len(CONTENT)) == CONTENT
        with pytest.raises(SourceError) as caught:
            source.again()
        assert caught.value.errno == errno.EBADF

    def test_it_knows_whether_it_was_written_to(self, tmp_path: Path) -> None:
        path = written(CONTENT, tmp_path)
        os.utime(path, ns=(1, 1))
        with FileSource(path) as source:
            path.rename(tmp_path / "elsewhere")
            assert source.read(0, 9) == CONTENT[:9]
            assert not source.has_changed()
            (tmp_path / "elsewhere").write_bytes(CONTENT)
            assert source.has_changed()
            with source.again() as again:
                assert not again.has_changed()

    def test_a_system_that_cannot_tell_holes(
        self, source: ByteSource, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def refuse(*_: object) -> int:
            raise OSError(errno.EINVAL, "Invalid argument")

        monkeypatch.setattr(os, "lseek", refuse)
        assert list(source.data_ranges(5, 70_000)) == [(5, len(CONTENT))]

    def test_the_system_delivers_in_pieces(
        self, source: ByteSource, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        whole = os.preadv
        monkeypatch.setattr(os, "preadv", lambda fd, b, at: whole(fd, [b[0][:7]], at))
        monkeypatch.setattr(os, "pread", lambda _fd, _length, at: CONTENT[at : at + 9])
        assert source.read(1, 100) == CONTENT[1:101]

    def test_an_error_of_the_system_names_the_offset(
        self, source: ByteSource, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def fail(*_: object) -> int:
            raise OSError(errno.EIO, "Input/output error")

        for function in ("pread", "preadv"):
            monkeypatch.setattr(os, function, fail)
        buffer = bytearray(8)
        for read in (
            lambda: source.read(0x123, 8),
            lambda: source.read_into(0x123, memoryview(buffer)),
        ):
            with pytest.raises(
                SourceError, match="cannot read at offset 0x123: Input/output"
            ) as caught:
                read()
            assert (caught.value.errno, caught.value.filename) == (errno.EIO, source.name)

    def test_what_is_bad_is_read_once(
        self, source: ByteSource, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A disk tries for seconds before it says so."""
        calls: list[int] = []

        def fail(_fd: int, _what: object, at: int) -> int:
            calls.append(at)
            raise OSError(errno.EIO, "Input/output error")

        for function in ("pread", "preadv"):
            monkeypatch.setattr(os, function, fail)
        with pytest.raises(SourceError):
            source.read(0x123, 8)
        assert calls == [0x123]

    def test_it_knows_what_it_takes_up(self, source: ByteSource) -> None:
        assert 0 <= (source.allocated() or 0) <= 2 * len(CONTENT)


class TestMemory(SourceContract):
    def make(self, content: bytes, tmp_path: Path) -> ByteSource:
        return MemorySource(content)

    def test_a_change_of_the_bytes_shows(self) -> None:
        data = bytearray(b"abc")
        source = MemorySource(data)
        data[1] = 0x78
        assert source.read(0, 3) == b"axc"


class TestCounting(SourceContract):
    def make(self, content: bytes, tmp_path: Path) -> ByteSource:
        return CountingSource(FileSource(written(content, tmp_path)))

    def test_it_counts_reads_and_bytes(self) -> None:
        source = CountingSource(MemorySource(b"12345"))
        source.read(0, 2)
        source.read(4, 10)
        source.read(10, 10)
        assert (source.reads, source.bytes_read) == (2, 3)


class TestFailing(SourceContract):
    def make(self, content: bytes, tmp_path: Path) -> ByteSource:
        return FailingSource(MemorySource(content, "disk"))

    @pytest.mark.parametrize(("offset", "length"), [(10, 1), (19, 1), (0, 100), (15, 2), (0, 11)])
    def test_it_fails_where_it_should(self, offset: int, length: int) -> None:
        source = FailingSource(MemorySource(bytes(100), "disk"), (10, 20))
        with pytest.raises(SourceError, match=f"offset {max(10, offset):#x}") as caught:
            source.read(offset, length)
        assert (caught.value.errno, caught.value.filename) == (errno.EIO, "disk")

    @pytest.mark.parametrize(("offset", "length"), [(0, 10), (20, 80), (10, 0), (200, 5)])
    def test_it_reads_elsewhere(self, offset: int, length: int) -> None:
        source = FailingSource(MemorySource(bytes(100)), (10, 20))
        assert source.read(offset, length) == bytes(length)


class DeviceSource(FileSource):
    """A block device that goes when it is closed."""

    def __init__(self, path: Path) -> None:
        self._devices = ExitStack()
        super().__init__(self._devices.enter_context(loop_device(path)))

    def close(self) -> None:
        super().close()
        self._devices.close()


class TestBlockDevice(SourceContract):
    """A device has whole sectors, and no length that ``stat`` could tell."""

    multiple = SECTOR

    def make(self, content: bytes, tmp_path: Path) -> ByteSource:
        return DeviceSource(written(content, tmp_path))

    def test_stat_knows_no_length(self, source: ByteSource) -> None:
        with source:
            assert Path(source.name).stat().st_size == 0
            assert source.allocated() == 0


def test_rows_that_follow_each_other_are_read_at_once(tmp_path: Path) -> None:
    data = bytes(range(256)) * 64
    path = tmp_path / "data"
    path.write_bytes(data)
    with FileSource(path) as file:
        source = CountingSource(file)
        offsets = [0, 512, 1024, 4096, 512, 1024, len(data) - 512, len(data), len(data) + 512]
        rows = bytearray(512 * len(offsets))
        source.will_need(offsets, 512)
        source.read_rows(offsets, memoryview(rows))
        padded = data + bytes(2048)
        assert rows == b"".join(padded[offset : offset + 512] for offset in offsets)
        assert source.reads == 4
        source.read_rows([], memoryview(bytearray()))
        assert source.reads == 4
