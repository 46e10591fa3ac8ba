"""Which file system a file lies on, as Linux tells it. Knows no qcow2."""

import os
import re
from typing import NamedTuple, Self

__all__ = ["file_system"]

_MOUNTS = "/proc/self/mountinfo"
_OCTAL = re.compile(rb"\\([0-7]{3})")


def file_system(path: str, device: int) -> str | None:
    """The type of the file system (``ext4``, ``xfs``) of the file at a path.

    ``device`` is the ``st_dev`` of the opened file. None where the system does not tell.
    """
    try:
        with open(_MOUNTS, "rb") as table:  # noqa: PTH123 - pathlib is slow to import
            mounts = [_Mount.parse(line) for line in table.read().splitlines()]
        return _by_device(mounts, device) or _by_place(mounts, os.fsencode(os.path.realpath(path)))
    except (OSError, ValueError):
        return None


class _Mount(NamedTuple):
    """One line of the table: the device as ``8:1``, the mount point, and the type."""

    device: bytes
    point: bytes
    kind: str

    @classmethod
    def parse(cls, line: bytes) -> Self:
        """Read a line. Raises ValueError when it has another shape."""
        _, _, device, _, point, rest = line.split(b" ", 5)
        # The type is the first word behind the lone dash that ends the optional fields.
        kind = f" {rest.decode('ascii', 'backslashreplace')}".partition(" - ")[2].partition(" ")[0]
        place = _OCTAL.sub(lambda code: bytes((int(code[1], 8),)), point)
        return cls(device, place, kind)


def _by_device(mounts: list[_Mount], device: int) -> str | None:
    """By the device number, which says it for all file systems on one device."""
    wanted = b"%d:%d" % (os.major(device), os.minor(device))
    return next((mount.kind for mount in mounts if mount.device == wanted), None)


def _by_place(mounts: list[_Mount], path: bytes) -> str | None:
    """By the deepest mount point above the path; later mounts hide earlier ones.

    Volumes of btrfs and overlays number their files by devices that are mounted nowhere.
    """
    above = [mount for mount in mounts if path.startswith(mount.point.rstrip(b"/") + b"/")]
    # Of equal ones max takes the first, hence from the end.
    return max(reversed(above), key=lambda mount: len(mount.point)).kind if above else None
