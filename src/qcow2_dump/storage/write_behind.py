"""Having the disk write while more is made, so that the wait at the end is short."""

import os
from contextlib import suppress

__all__ = ["WriteBehind"]

_LONG = 8 << 20
# Less is no work for a disk, and what is told of twice is written twice.
_SHORT = 64 << 10
# What is not written in between costs nothing to tell of as well.
_GAP = 64 << 10


class WriteBehind:
    """Follows what is written to an open file, and has the system begin to bring it to the disk.

    It is a hint: only a sync says that something is on the disk. ``fd`` is not closed.
    """

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._start = self._end = 0

    def wrote(self, start: int, end: int) -> None:
        """Say that the bytes between two offsets were written. Raises nothing."""
        if not 0 <= start - self._end <= _GAP:
            self._begin(_SHORT)
            self._start = start
        self._end = end
        self._begin(_LONG)

    def _begin(self, enough: int) -> None:
        """Have what follows each other written, if it is long enough."""
        length = self._end - self._start
        if length < enough:
            return
        if hasattr(os, "posix_fadvise"):
            # Linux takes this as the time to write; what waits for the disk it does not drop.
            with suppress(OSError):
                os.posix_fadvise(self._fd, self._start, length, os.POSIX_FADV_DONTNEED)
        self._start = self._end
