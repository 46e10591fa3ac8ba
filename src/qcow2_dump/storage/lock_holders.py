"""Who holds a lock on a file, as far as Linux tells it to this user. Knows no qcow2."""

import os
from collections.abc import Iterator

__all__ = ["lock_holder"]

_PROCESSES = "/proc"


def lock_holder(fd: int, byte: int) -> str | None:
    """A process that holds a lock on a byte of an open file: its name and number, or None.

    `/proc/locks` has no owner for locks that belong to an open file; the open files of each
    process tell them, to its own user and to root. This process itself is left out.
    """
    try:
        wanted = os.fstat(fd)
        processes = [int(name) for name in os.listdir(_PROCESSES) if name.isdigit()]  # noqa: PTH208
    except OSError:
        return None
    for process in processes:
        if process != os.getpid() and _holds(process, wanted, byte):
            return f"{_name(process)} (process {process})"
    return None


def _holds(process: int, wanted: os.stat_result, byte: int) -> bool:
    folder = f"{_PROCESSES}/{process}"
    try:
        return any(
            _is_locked(f"{folder}/fdinfo/{number}", wanted.st_ino, byte)
            # Numbers of inodes are unique within one file system only.
            and os.path.samestat(os.stat(f"{folder}/fd/{number}"), wanted)  # noqa: PTH116
            for number in os.listdir(f"{folder}/fdinfo")  # noqa: PTH208
        )
    except (OSError, ValueError):  # another user's, gone meanwhile, or told in another way
        return False


def _is_locked(path: str, inode: int, byte: int) -> bool:
    return any(
        place.endswith(f":{inode}") and int(first) <= byte and (last == "EOF" or byte <= int(last))
        for place, first, last in _locks(path)
    )


def _locks(path: str) -> Iterator[tuple[str, str, str]]:
    """The locks of one open file: device and inode, the first byte and the last."""
    try:
        with open(path, encoding="ascii", errors="replace") as lines:  # noqa: PTH123
            for line in lines:
                # lock: 1: OFDLCK ADVISORY READ -1 08:01:1234 100 101
                words = line.split()
                if len(words) >= 3 and words[0] == "lock:":
                    yield words[-3], words[-2], words[-1]
    except OSError:  # closed meanwhile
        return


def _name(process: int) -> str:
    try:
        with open(f"{_PROCESSES}/{process}/comm", errors="replace") as name:  # noqa: PTH123
            return name.read().strip() or "somebody"
    except OSError:
        return "somebody"
