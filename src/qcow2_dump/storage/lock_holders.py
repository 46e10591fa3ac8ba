"""Who holds a lock on a file, as far as Linux tells it to this user. Knows no qcow2."""

import os
from collections.abc import Iterator

__all__ = ["lock_holder"]

_PROCESSES = "/proc"
_SHOWN_COMMAND = 200
"""Characters of a command line that are shown."""


def lock_holder(fd: int, first: int, last: int | None = None) -> str | None:
    """The first process found to hold a lock on a byte of an open file, or on one of a range.

    Told as name, number and command line, in one line of printable characters; None where the
    system does not tell. ``/proc/locks`` has no owner for locks that belong to an open file; the
    open files of each process tell them, to its own user and to root. This process itself is left
    out.
    """
    try:
        wanted = os.fstat(fd)
        processes = [int(name) for name in os.listdir(_PROCESSES) if name.isdigit()]  # noqa: PTH208
    except OSError:
        return None
    for process in sorted(processes):
        if process != os.getpid() and _holds(
            process, wanted, first, first if last is None else last
        ):
            return _described(process)
    return None


def _holds(process: int, wanted: os.stat_result, first: int, last: int) -> bool:
    folder = f"{_PROCESSES}/{process}"
    try:
        return any(
            _is_locked(f"{folder}/fdinfo/{number}", wanted.st_ino, first, last)
            # Numbers of inodes are unique within one file system only.
            and os.path.samestat(os.stat(f"{folder}/fd/{number}"), wanted)  # noqa: PTH116
            for number in os.listdir(f"{folder}/fdinfo")  # noqa: PTH208
        )
    except (OSError, ValueError):  # another user's, gone meanwhile, or told in another way
        return False


def _is_locked(path: str, inode: int, first: int, last: int) -> bool:
    return any(
        place.endswith(f":{inode}") and int(start) <= last and (end == "EOF" or first <= int(end))
        for place, start, end in _locks(path)
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


def _described(process: int) -> str:
    """``name (process N: command line)``, in printable characters."""
    name = _shown(_told(process, "comm").rstrip(b"\n")) or "somebody"
    command = _shown(_told(process, "cmdline").rstrip(b"\0").replace(b"\0", b" "))
    return f"{name} (process {process}: {command})" if command else f"{name} (process {process})"


def _told(process: int, what: str) -> bytes:
    """The beginning of what the system tells of a process; nothing where it does not."""
    try:
        with open(f"{_PROCESSES}/{process}/{what}", "rb") as told:  # noqa: PTH123
            # A character has four bytes at most; a command line can be megabytes long.
            return told.read(4 * _SHOWN_COMMAND + 4)
    except OSError:
        return b""


def _shown(raw: bytes) -> str:
    """Printable characters only: a process can call itself whatever it likes."""
    text = raw.decode("utf-8", "backslashreplace")
    if len(text) > _SHOWN_COMMAND:
        text = text[: _SHOWN_COMMAND - 1] + "…"
    return "".join(
        c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text
    )
