"""Whether the files that an image names can be there: the caller's decision, never the image's.

An image is untrusted, and so are the names in it: nothing here opens a file, and only names
that are plain paths are looked for at all.
"""

import os
import stat
from typing import Protocol

from qcow2_dump.image.backing_names import plain_backing_path

__all__ = ["LookForFiles", "NeverLook", "Resolver"]


class Resolver(Protocol):
    """Says why a file that an image names cannot be used: None unless that is certain."""

    def backing_problem(self, image_path: str, stored_name: bytes) -> str | None:
        """What is certainly wrong with the backing file, in words that follow its name."""
        ...

    def data_file_problem(self, image_path: str, stored_name: bytes) -> str | None:
        """What is certainly wrong with the external data file, likewise."""
        ...


class NeverLook:
    """Does not look at all."""

    def backing_problem(self, image_path: str, stored_name: bytes) -> str | None:
        """Never certain."""
        return None

    def data_file_problem(self, image_path: str, stored_name: bytes) -> str | None:
        """Never certain."""
        return None


class LookForFiles:
    """Asks the system what a path leads to, without opening it.

    Names with a protocol (``nbd:``, ``json:``, ``https:``) are not looked for.
    """

    def backing_problem(self, image_path: str, stored_name: bytes) -> str | None:
        """A relative name is relative to the image's folder, as in QEMU."""
        return _problem(image_path, plain_backing_path(image_path, _as_qemu_reads(stored_name)))

    def data_file_problem(self, image_path: str, stored_name: bytes) -> str | None:
        """QEMU 7.2 looks from the working directory, later versions beside the image."""
        name = _as_qemu_reads(stored_name)
        beside = _problem(image_path, plain_backing_path(image_path, name))
        return beside and _problem(image_path, plain_backing_path("", name))


def _as_qemu_reads(stored_name: bytes) -> bytes:
    return stored_name.partition(b"\0")[0]


def _problem(image_path: str, path: str | None) -> str | None:
    if path is None:
        return None
    try:
        found = os.stat(path)  # noqa: PTH116 - the name may be bytes of any kind
    except (FileNotFoundError, NotADirectoryError):
        return "is not there"
    except (OSError, ValueError):
        return None
    if stat.S_ISDIR(found.st_mode) or stat.S_ISFIFO(found.st_mode) or stat.S_ISSOCK(found.st_mode):
        return "is neither a file nor a disk"
    try:
        itself = os.stat(image_path)  # noqa: PTH116
    except (OSError, ValueError):
        return None
    return "is the image itself" if os.path.samestat(found, itself) else None
