"""What every opened file or block device has in common, read with ``preadv``."""

import copy
import errno
import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Self

from qcow2_dump.errors import SourceError
from qcow2_dump.storage.base import ByteSource

__all__ = ["OpenFile"]


class OpenFile(ByteSource):
    """A regular file or a block device, opened as ``access`` says (``O_RDONLY``, ``O_RDWR``).

    Symbolic links are followed. Raises SourceError when it cannot be opened, or is neither a
    regular file nor a block device (a FIFO would hang, a terminal would never end).
    """

    def __init__(self, path: str | os.PathLike[str], access: int) -> None:
        self.name = os.fspath(path)
        self._fd = _opened(self.name, access)
        try:
            self._is_regular = _is_regular(self._fd, self.name)
            self._opened = self._stamp()
            self.size = self._end()
        except BaseException:
            self.close()
            raise

    def read(self, offset: int, length: int) -> bytes:
        """``length`` bytes from ``offset`` on, zeros past the end of the file."""
        if 0 <= offset <= self.size - length and length > 0:
            # Most are had in one go: those need no buffer to be made, filled and copied.
            try:
                data = os.pread(self._fd, length, offset)
            except OSError as error:
                raise self._unread(error, offset) from error
            if len(data) == length:
                return data
        return super().read(offset, length)

    def read_at(self, offset: int, buffer: memoryview) -> int:
        """Read from ``offset`` bytes on until the buffer is full or the file ends."""
        done = 0
        while done < len(buffer):
            try:
                got = os.preadv(self._fd, [buffer[done:]], offset + done)
            except OSError as error:
                raise self._unread(error, offset + done) from error
            if got == 0:
                break
            done += got
        return done

    def will_need(self, offsets: Sequence[int], length: int) -> None:
        """Have the system begin to read, where it can be asked to."""
        if not hasattr(os, "posix_fadvise"):
            return
        first = 0
        for at in range(1, len(offsets) + 1):
            if at == len(offsets) or offsets[at] != offsets[at - 1] + length:
                span = (at - first) * length
                with suppress(OSError):
                    os.posix_fadvise(self._fd, offsets[first], span, os.POSIX_FADV_WILLNEED)
                first = at

    def forget(self, offset: int, length: int) -> None:
        """Have the system read a range from the disk the next time, where it can be asked to.

        What of it was written must be on the disk.
        """
        if hasattr(os, "posix_fadvise"):
            with suppress(OSError):
                os.posix_fadvise(self._fd, offset, length, os.POSIX_FADV_DONTNEED)

    def data_ranges(self, start: int, end: int) -> Iterator[tuple[int, int]]:
        """The parts of a range that the file system says hold data."""
        end = min(end, self.size)
        while start < end:
            try:
                data = os.lseek(self._fd, start, os.SEEK_DATA)
                hole = os.lseek(self._fd, data, os.SEEK_HOLE)
            except OSError as error:
                if error.errno != errno.ENXIO:
                    # A device or file system that cannot tell: all of it may be data.
                    yield start, end
                return
            if data >= end:
                return
            yield data, min(hole, end)
            start = hole

    def allocated(self) -> int | None:
        """What the file takes up on its file system, in bytes; 0 for a device."""
        # The unit of st_blocks is 512 bytes, whatever the block size of the file system.
        return os.fstat(self._fd).st_blocks * 512

    def fileno(self) -> int:
        """The descriptor, for asking the system about the file."""
        return self._fd

    def is_being_written(self) -> bool:
        """Whether somebody else says so with a lock of QEMU's kind."""
        from qcow2_dump.storage.locks import is_being_written

        return is_being_written(self._fd)

    def has_changed(self) -> bool:
        """Whether the time of the last change says so; that of a block device tells nothing."""
        return self._is_regular and self._stamp() != self._opened

    def again(self) -> Self:
        """The same open file, whatever is at its path by now. A lock is given back with the last.

        Raises SourceError when the process has too many files open.
        """
        other = copy.copy(self)
        other._fd = -1
        try:
            other._fd = os.dup(self._fd)
        except OSError as error:
            raise SourceError(
                error.errno or errno.EIO, error.strerror or str(error), self.name
            ) from error
        try:
            other._opened = other._stamp()
            other.size = other._end()
        except BaseException:
            other.close()
            raise
        return other

    def close(self) -> None:
        """Close the file, which gives back its locks; closing twice does nothing."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _unread(self, error: OSError, offset: int) -> SourceError:
        """What the system says of a read that failed."""
        reason = f"cannot read at offset {offset:#x}: {error.strerror}"
        return SourceError(error.errno or errno.EIO, reason, self.name)

    def _stamp(self) -> tuple[int, int]:
        """Changes with every write, but for those within one tick of the system's clock."""
        now = os.fstat(self._fd)
        return now.st_mtime_ns, now.st_size

    def _end(self) -> int:
        """The size in bytes, now."""
        try:
            # st_size of a block device is 0; its end is found by seeking.
            return os.lseek(self._fd, 0, os.SEEK_END)
        except OSError as error:
            raise SourceError(
                error.errno or errno.EIO, error.strerror or str(error), self.name
            ) from error


def _opened(name: str, access: int) -> int:
    try:
        # O_NONBLOCK: opening a FIFO must fail below instead of waiting for a writer.
        return os.open(name, access | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        raise SourceError(error.errno or errno.EIO, error.strerror or str(error), name) from error
    except ValueError as error:
        raise SourceError(errno.EINVAL, f"not a path: {error}", name) from error


def _is_regular(fd: int, name: str) -> bool:
    """True for a regular file, False for a block device; SourceError for anything else."""
    mode = os.fstat(fd).st_mode
    if stat.S_ISDIR(mode):
        raise SourceError(errno.EISDIR, os.strerror(errno.EISDIR), name)
    if not stat.S_ISREG(mode) and not stat.S_ISBLK(mode):
        raise SourceError(errno.EINVAL, "neither a regular file nor a block device", name)
    return stat.S_ISREG(mode)
