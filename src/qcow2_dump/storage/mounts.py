"""Which file system a file lies on, as Linux tells it. Knows no qcow2."""

import os
import re

__all__ = ["file_system"]

_MOUNTS = "/proc/self/mountinfo"
_OCTAL = re.compile(rb"\\([0-7]{3})")


def file_system(path: str, device: int) -> str | None:
    """The type of the file system (``ext4``, ``xfs``) of the file at a path.

    ``device`` is the ``st_dev`` of the opened file. None where the system does not tell.
    """
    try:
        with open(_MOUNTS, "rb") as mounts:  # noqa: PTH123 - pathlib is slow to import
            lines = mounts.read().splitlines()
        return _by_device(lines, device) or _by_place(lines, os.fsencode(os.path.realpath(path)))
    except (OSError, ValueError):
        return None


def _by_device(lines: list[bytes], device: int) -> str | None:
    """By the device number, which says it for all file systems on one device."""
    wanted = b"%d:%d" % (os.major(device), os.minor(device))
    for line in lines:
        if line.split(b" ", 3)[2] == wanted:
            return _kind(line)
    return None


def _by_place(lines: list[bytes], path: bytes) -> str | None:
    """By the deepest mount point above the path; later mounts hide earlier ones.

    Volumes of btrfs and overlays number their files by devices that are mounted nowhere.
    """
    deepest, found = -1, None
    for line in lines:
        point = _OCTAL.sub(lambda code: bytes((int(code[1], 8),)), line.split(b" ", 5)[4])
        above = point.rstrip(b"/") + b"/"
        if path.startswith(above) and len(point) >= deepest:
            deepest, found = len(point), _kind(line)
    return found


def _kind(line: bytes) -> str:
    """The type in a line: the first word behind the lone dash that ends the optional fields."""
    return line.partition(b" - ")[2].split(b" ", 1)[0].decode("ascii", "backslashreplace")
