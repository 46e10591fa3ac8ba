"""Undo files by name: beside their image, or elsewhere with a pointer file beside the image.

Every file that bears such a name may have been put there by somebody else. Links are not followed,
only regular files are opened, and what does not read as ours is an entry with a problem.
"""

import errno
import hashlib
import heapq
import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from qcow2_dump.errors import JournalError, RequestError, SourceError
from qcow2_dump.plan.undo_format import (
    HEAD_LENGTH,
    FinishMark,
    Head,
    Names,
    UndoMetadata,
    UndoState,
    unpack_metadata,
)

__all__ = [
    "UndoFile",
    "create_file",
    "find_undo_files",
    "is_device",
    "make_pointer",
    "next_path",
    "open_regular",
    "read_head",
    "read_undo_file",
    "remove_file",
    "sync_folder",
    "telling",
    "write_all",
    "write_parts",
]

_HIGHEST = 10**9
_MOST_FILES = 4096
_POINTER_MAGIC = b"qcow2-dump ptr 1"
_LONGEST_POINTER = 16 << 10
_NOT_HERE = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENAMETOOLONG)


@dataclass(frozen=True, slots=True)
class UndoFile:
    """What is known of an undo file without reading its steps.

    ``number`` is that of its name beside the image, None for a file elsewhere that nothing beside
    the image points to. ``path`` is the undo file itself, ``pointer`` the file that points there,
    ``size`` in bytes. ``problem`` says why it cannot be used; then metadata and finish mark are
    missing, and the state unless its head is whole. ``is_damaged`` says that its bytes are the
    reason, and not that it is gone, out of reach, or of something else.
    """

    number: int | None
    path: str
    pointer: str | None
    size: int
    state: UndoState | None = None
    metadata: UndoMetadata | None = None
    finish: FinishMark | None = None
    problem: str | None = None
    is_damaged: bool = False

    @property
    def is_interrupted(self) -> bool:
        """Whether the change was begun, or may have been, and is neither finished nor undone."""
        return self.problem is None and self.state is UndoState.READY

    @property
    def is_lost(self) -> bool:
        """Whether it is damaged, and its change may have been interrupted all the same."""
        return self.is_damaged and self.state in (None, UndoState.READY)


def find_undo_files(image: str | os.PathLike[str]) -> list[UndoFile]:
    """All undo files of an image that lie beside it or are pointed to, the oldest first.

    A file that is no undo file, or an altered or truncated one, is an entry with a ``problem``.
    Of more than 4,096 those with the highest numbers are looked at. Never raises.
    """
    place = os.path.realpath(image)
    numbers = sorted(heapq.nlargest(_MOST_FILES, _numbers(place)))
    return [_read(number, _path(place, number), None, None) for number in numbers]


def read_undo_file(
    path: str | os.PathLike[str], image: str | os.PathLike[str] | None = None
) -> UndoFile:
    """What is known of one undo file, or of one that a pointer file names. Never raises.

    With ``image``, a file beside it that points there is found as well.
    """
    known = _read(None, os.fspath(path), None, None)
    place = os.path.realpath(known.path)
    beside = find_undo_files(image) if image is not None else []
    same = (entry for entry in beside if os.path.realpath(entry.path) == place)
    return next(same, known)


def next_path(image: str) -> str:
    """The next free name of an undo file beside an image; ``image`` is its real path."""
    number = max(_numbers(image), default=0) + 1
    if number > _HIGHEST:
        raise JournalError(f"an undo file with the number {number - 1} is in the way")
    return _path(image, number)


def is_device(image: str) -> bool:
    """Whether a path leads to a block device."""
    try:
        return stat.S_ISBLK(Path(image).stat().st_mode)
    except OSError:
        return False


@contextmanager
def telling(what: str, path: str) -> Iterator[None]:
    """Turn what the system says of an undo file into a SourceError."""
    try:
        yield
    except SourceError:
        # It is of another file, as a temporary one, and says which.
        raise
    except OSError as error:
        reason = f"{what}: {error.strerror or error}"
        raise SourceError(error.errno or errno.EIO, reason, path) from error


def create_file(path: str, *, beside: bool) -> int:
    """Make a new file that only its owner can read; returns its descriptor.

    Raises FileExistsError, SourceError, or with ``beside`` RequestError where the folder of the
    image cannot take files.
    """
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        return os.open(path, flags, 0o600)
    except FileExistsError:
        raise
    except OSError as error:
        reason = f"the undo file cannot be made: {error.strerror or error}"
        if not beside or error.errno not in _NOT_HERE:
            raise SourceError(error.errno or errno.EIO, reason, path) from error
        refused = RequestError(f"{reason}: give --undo-file PATH or --no-undo")
        refused.errno = error.errno
        raise refused from error


def make_pointer(image: str, journal: str, identity: bytes) -> str:
    """Leave a file beside an image that names an undo file elsewhere; returns its path.

    ``image`` and ``journal`` are absolute. Raises as `create_file` does.
    """
    path = next_path(image)
    name, place = os.fsencode(Path(image).name), os.fsencode(journal)
    packed = b"".join(
        (
            _POINTER_MAGIC,
            identity,
            len(name).to_bytes(2),
            len(place).to_bytes(2),
            name,
            place,
        )
    )
    fd = create_file(path, beside=True)
    try:
        with telling("the pointer to the undo file cannot be written", path):
            write_all(fd, packed + hashlib.sha256(packed).digest(), 0)
            os.fsync(fd)
            sync_folder(path)
    except BaseException:
        remove_file(path)
        raise
    finally:
        os.close(fd)
    return path


def remove_file(path: str) -> bool:
    """Remove a file; whether it is gone."""
    try:
        Path(path).unlink(missing_ok=True)
        sync_folder(path)
    except OSError:
        return False
    return True


def sync_folder(path: str) -> None:
    """Have the name of a file reach the disk, where the system can. Raises OSError."""
    try:
        fd = os.open(Path(path).parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except PermissionError:
        # A folder that takes files but cannot be listed cannot be synced by itself.
        return
    try:
        os.fsync(fd)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(fd)


def write_all(fd: int, data: bytes | bytearray, at: int) -> None:
    """Write all of some bytes at an offset. Raises OSError."""
    left = memoryview(data)
    while left:
        wrote = os.pwrite(fd, left, at)
        at += wrote
        left = left[wrote:]


def write_parts(fd: int, parts: list[bytes], at: int) -> int:
    """Write fewer than 1,024 stretches of bytes, one behind the other, at an offset.

    Returns the offset behind the last. Raises OSError.
    """
    end = at + sum(map(len, parts))
    wrote = os.pwritev(fd, parts, at)
    if at + wrote < end:
        write_all(fd, b"".join(parts)[wrote:], at + wrote)
    return end


def open_regular(path: str, flags: int = os.O_RDONLY) -> int:
    """Open a regular file and nothing else. Raises JournalError, SourceError."""
    try:
        # Opening a device can do something to it, so it is not even opened; that may have changed
        # a moment later, so the open file is asked as well.
        if stat.S_ISREG(os.lstat(path).st_mode):
            fd = os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
            if stat.S_ISREG(os.fstat(fd).st_mode):
                return fd
            os.close(fd)
    except OSError as error:
        reason = f"the undo file cannot be opened: {error.strerror or error}"
        raise SourceError(error.errno or errno.EIO, reason, path) from error
    except ValueError as error:
        raise JournalError(f"not a path: {error}") from error
    raise JournalError("not a regular file; a symbolic link is not followed")


def read_head(fd: int) -> tuple[Head, UndoMetadata | None, Names]:
    """Head and metadata of an open undo file, both verified; nothing else is read.

    There is no metadata while the file is being prepared. Raises JournalError without the path,
    OSError.
    """
    head = Head.unpack(os.pread(fd, HEAD_LENGTH, 0))
    return head, *_read_metadata(fd, head)


def _read_metadata(fd: int, head: Head) -> tuple[UndoMetadata | None, Names]:
    """What follows the head of an open undo file, verified. Raises as `read_head`."""
    if head.state is UndoState.PREPARING:
        return None, Names((), ())
    size = os.fstat(fd).st_size
    if size != head.length:
        word = "truncated" if size < head.length else "altered"
        raise JournalError(f"{word}: it has {size:,} bytes instead of {head.length:,}")
    packed = os.pread(fd, head.metadata_length, HEAD_LENGTH)
    if hashlib.sha256(packed).digest() != head.metadata_sum:
        raise JournalError("altered: the checksum of its metadata is wrong")
    return unpack_metadata(packed)


def _numbers(image: str) -> Iterator[int]:
    """The numbers of all undo files beside an image, in no order."""
    folder, name = os.path.split(image)
    pattern = re.compile(re.escape(name) + r"\.qcow2-undo\.([1-9][0-9]{0,9})")
    try:
        with os.scandir(folder or ".") as entries:
            for entry in entries:
                found = pattern.fullmatch(entry.name)
                if found and int(found[1]) <= _HIGHEST:
                    yield int(found[1])
    except OSError:
        # A folder that cannot be listed shows nothing; making a file there is tried all the same.
        return


def _path(image: str, number: int) -> str:
    return f"{image}.qcow2-undo.{number}"


def _read(number: int | None, path: str, pointer: str | None, named: bytes | None) -> UndoFile:
    """Read an undo file; ``named`` is what its pointer file says of it."""
    size, state = 0, None
    try:
        fd = open_regular(path)
        try:
            size = os.fstat(fd).st_size
            if named is None and os.pread(fd, len(_POINTER_MAGIC), 0) == _POINTER_MAGIC:
                identity, place = _unpack_pointer(os.pread(fd, _LONGEST_POINTER, 0))
                return _read(number, place, path, identity)
            head = Head.unpack(os.pread(fd, HEAD_LENGTH, 0))
            state = head.state
            metadata, _ = _read_metadata(fd, head)
        finally:
            os.close(fd)
    except SourceError as error:
        return UndoFile(number, path, pointer, size, problem=str(error))
    except (JournalError, OSError, UnicodeError) as error:
        return UndoFile(number, path, pointer, size, state, problem=str(error), is_damaged=True)
    if named is not None and metadata is not None and _identity(head, metadata) != named:
        problem = "the pointer leads to the undo file of something else"
        return UndoFile(number, path, pointer, size, problem=problem)
    finish = head.finish if head.state is UndoState.FINISHED else None
    return UndoFile(number, path, pointer, size, head.state, metadata, finish)


def _identity(head: Head, metadata: UndoMetadata) -> bytes:
    """What a pointer file has to say of an undo file to be its own."""
    return head.identity + os.fsencode(metadata.image)


def _unpack_pointer(packed: bytes) -> tuple[bytes, str]:
    """Identity and path of the undo file that a pointer file names."""
    content, summed = packed[:-32], packed[-32:]
    start = len(_POINTER_MAGIC) + 16
    name, place = (
        int.from_bytes(content[start : start + 2]),
        int.from_bytes(content[start + 2 : start + 4]),
    )
    if hashlib.sha256(content).digest() != summed or len(content) != start + 4 + name + place:
        raise JournalError("altered: the checksum of the pointer file is wrong")
    path = content[start + 4 + name :]
    if not path.startswith(b"/") or b"\0" in path:
        raise JournalError("the pointer file names no absolute path")
    identity = content[len(_POINTER_MAGIC) : start] + content[start + 4 : start + 4 + name]
    return identity, os.fsdecode(path)
