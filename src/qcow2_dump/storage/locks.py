"""QEMU's image locks on Linux: locks on single bytes of the file itself.

QEMU locks bytes whatever the file holds there, with locks that belong to the open file. Byte
100 + n says "I do this", 200 + n "I do not let others do this"; n is 0 for reading what does not
change, 1 for writing, 3 for resizing. Whoever comes takes its own bytes first and then asks for
those that would be in its way, so that of two who come at once one always notices. QEMU takes
read locks only; one write lock over all of these bytes is in everybody's way, readers included.

The locks are advice. They bind nobody who does not ask, and are not seen from another machine
whose file system does not share them.
"""

import errno
import fcntl
import os
import struct
import sys

from qcow2_dump.errors import LockedError, SourceError
from qcow2_dump.storage.lock_holders import lock_holder

__all__ = ["is_being_written", "take_read_locks", "take_write_lock"]

_READS, _WRITES, _RESIZES = 100, 101, 103
_NO_READING, _NO_WRITING, _NO_RESIZING = 200, 201, 203
_FIRST, _LAST = 100, 204

# struct flock: type, whence, start and length in bytes, and the pid, which has to be 0.
_FLOCK = struct.Struct("@hhqqi")
_HELD = (errno.EAGAIN, errno.EACCES)
_NO_SUCH_LOCKS = (errno.ENOLCK, errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS)


def take_read_locks(fd: int, name: str) -> None:
    """Lock a file as a QEMU that only reads it does, which keeps writers out.

    The locks last until ``fd`` is closed; ``name`` is for messages. Readers do not mind each
    other. Raises LockedError when somebody has the file open for writing or for itself alone, and
    SourceError (ENOTSUP) when its file system has no such locks. Nothing is held then.
    """
    try:
        for byte in (_READS, _NO_WRITING, _NO_RESIZING):
            _set(fd, fcntl.F_RDLCK, byte)
        for byte in (_NO_READING, _WRITES, _RESIZES):
            if _is_held(fd, byte):
                raise _locked(fd, byte)
    except LockedError:
        _release(fd)
        raise
    except OSError as error:
        _release(fd)
        if error.errno in _HELD:
            raise _locked(fd, _READS) from error
        raise _no_locks(error, name, "read it without --lock") from error


def take_write_lock(fd: int, name: str, *, force_unlocked: bool = False) -> bool:
    """Lock a file for changing it: nobody else may have it open, not even for reading.

    One exclusive lock over bytes 100 to 204, which lasts until ``fd``, a descriptor for reading
    and writing, is closed; ``name`` is for messages. Returns True, or False where the file system
    has no such locks and ``force_unlocked`` says to go on. Raises LockedError when somebody holds
    a lock there, whatever was forced, and SourceError (ENOTSUP) when there are no such locks.
    """
    try:
        _set(fd, fcntl.F_WRLCK, _FIRST, _LAST + 1 - _FIRST)
    except OSError as error:
        if error.errno in _HELD:
            raise _in_the_way(fd) from error
        if force_unlocked and error.errno in _NO_SUCH_LOCKS:
            return False
        raise _no_locks(error, name, "--force-unlocked changes it all the same") from error
    return True


def is_being_written(fd: int) -> bool:
    """Whether somebody says by a lock that it may write or resize the file.

    False where the system cannot tell. Takes no lock, and does not mind those of ``fd`` itself.
    """
    try:
        return _is_held(fd, _WRITES) or _is_held(fd, _RESIZES)
    except OSError:
        return False


def _set(fd: int, kind: int, start: int, length: int = 1) -> None:
    if sys.platform != "linux":
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
    fcntl.fcntl(fd, fcntl.F_OFD_SETLK, _FLOCK.pack(kind, os.SEEK_SET, start, length, 0))


def _is_held(fd: int, byte: int) -> bool:
    """Whether somebody else holds a lock of any kind on a byte."""
    if sys.platform != "linux":
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
    # Asking for a write lock needs no writable file, unlike taking one.
    asked = _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, byte, 1, 0)
    kind: int = _FLOCK.unpack(fcntl.fcntl(fd, fcntl.F_OFD_GETLK, asked))[0]
    return kind != fcntl.F_UNLCK


def _release(fd: int) -> None:
    try:
        _set(fd, fcntl.F_UNLCK, _FIRST, _LAST + 1 - _FIRST)
    except OSError:
        return  # where no lock can be given back, none could be taken


def _locked(fd: int, byte: int) -> LockedError:
    what = "has it open for itself alone"
    if byte in (_WRITES, _RESIZES):
        what = "has it open for writing"
    return LockedError(f"{lock_holder(fd, byte) or 'somebody'} {what}")


def _in_the_way(fd: int) -> LockedError:
    """Whoever holds any of the bytes, and for what as far as that can still be told."""
    try:
        # A reader that lets nobody write holds 201 and 203: they say nothing of writing.
        for byte in (_NO_READING, _WRITES, _RESIZES):
            if _is_held(fd, byte):
                return _locked(fd, byte)
    except OSError:
        pass  # gone again: what matters is that it was there
    return LockedError(f"{lock_holder(fd, _FIRST, _LAST) or 'somebody'} has it open")


def _no_locks(error: OSError, name: str, instead: str) -> SourceError:
    if error.errno not in _NO_SUCH_LOCKS:
        return SourceError(error.errno, f"cannot be locked: {error.strerror}", name)
    reason = f"its file system has no locks like QEMU's ({error.strerror}); {instead}"
    return SourceError(errno.ENOTSUP, reason, name)
