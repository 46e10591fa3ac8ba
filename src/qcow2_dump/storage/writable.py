"""The only thing that can write: a file or block device, opened read-write and locked."""

import errno
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from qcow2_dump.errors import SourceError
from qcow2_dump.storage.locks import take_write_lock
from qcow2_dump.storage.open_file import OpenFile
from qcow2_dump.storage.write_behind import WriteBehind

__all__ = ["WritableFile"]

_CANNOT_RESERVE = (errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL)


class WritableFile(OpenFile):
    """A file or block device that nobody else has open, as far as QEMU's locks tell.

    One exclusive lock is taken before anything is read, and held until the file is closed or the
    process ends. ``locked`` is False only where the file system has no such locks and
    ``force_unlocked`` said to go on. ``can_grow`` is False for a block device.

    Raises LockedError when somebody holds a lock, which nothing overrides; SourceError when the
    file cannot be opened for writing (as `OpenFile`) or locked (as `take_write_lock`).
    """

    def __init__(self, path: str | os.PathLike[str], *, force_unlocked: bool = False) -> None:
        super().__init__(path, os.O_RDWR)
        try:
            self.locked = take_write_lock(self._fd, self.name, force_unlocked=force_unlocked)
            # Whoever held the file until now may have resized it.
            self.size = self._end()
        except BaseException:
            self.close()
            raise
        self.can_grow = self._is_regular
        self._behind = WriteBehind(self._fd)

    def has_changed(self) -> bool:
        """False: whatever changed it was written through this object, or cannot be told apart."""
        return False

    def write_at(self, offset: int, data: bytes | bytearray | memoryview) -> None:
        """Write all of ``data`` from ``offset`` bytes on; past the end, a regular file grows.

        Raises SourceError that names the offset at which writing failed; what comes before it
        may have been written.
        """
        left = memoryview(data).cast("B")
        start = offset
        while left:
            with self._telling(f"cannot write at offset {offset:#x}"):
                wrote = os.pwrite(self._fd, left, offset)
                if wrote == 0:
                    raise OSError(errno.EIO, "nothing was taken")
            offset += wrote
            left = left[wrote:]
            self.size = max(self.size, offset)
        self._behind.wrote(start, offset)

    def resize(self, size: int) -> None:
        """Grow or shrink a regular file to ``size`` bytes; new bytes are zeros.

        A file system that is too full says so now and not at a later write. Raises SourceError
        when that fails, with ``size`` the length that the file then has; ENOTSUP for a block
        device.
        """
        if not self.can_grow:
            raise SourceError(errno.ENOTSUP, "a block device cannot be resized", self.name)
        try:
            with self._telling(f"cannot be resized to {size:,} bytes"):
                self._reserve(size)
                os.ftruncate(self._fd, size)
        except BaseException:
            # Whatever failed, the file may have been made longer before.
            with suppress(SourceError):
                self.size = self._end()
            raise
        self.size = size

    def sync(self) -> None:
        """Wait until all that was written is on the disk. Raises SourceError when it is not."""
        with self._telling("cannot be brought to the disk"):
            os.fsync(self._fd)

    def _reserve(self, size: int) -> None:
        """Have the file system set aside what is new, where it can."""
        if sys.platform != "linux" or size <= self.size:
            return
        try:
            os.posix_fallocate(self._fd, self.size, size - self.size)
        except OSError as error:
            if error.errno not in _CANNOT_RESERVE:
                # A part may have been set aside, and the file grown by it.
                with suppress(OSError):
                    os.ftruncate(self._fd, self.size)
                raise

    @contextmanager
    def _telling(self, what: str) -> Iterator[None]:
        """Turn what the system says of a call into a SourceError."""
        try:
            yield
        except OSError as error:
            number, why = error.errno or errno.EIO, error.strerror or str(error)
            raise SourceError(number, f"{what}: {why}", self.name) from error
        except ValueError as error:  # what Python says of the descriptor of a closed file
            why = os.strerror(errno.EBADF)
            raise SourceError(errno.EBADF, f"{what}: {why}", self.name) from error
        except OverflowError as error:
            why = os.strerror(errno.EFBIG)
            raise SourceError(errno.EFBIG, f"{what}: {why}", self.name) from error
