"""Whether the files that an image names are there: the caller's decision, never the image's.

An image is untrusted, and so are the names in it: nothing here opens a file, and only names
that are plain paths are looked for at all.
"""

import os
import re
from typing import Protocol

__all__ = ["LookForFiles", "NeverLook", "Resolver"]

_PROTOCOL = re.compile(rb"[A-Za-z][A-Za-z0-9+.-]*:")


class Resolver(Protocol):
    """Says whether a file that an image names is missing: True only when that is certain."""

    def backing_is_missing(self, image_path: str, stored_name: bytes) -> bool:
        """Whether there is certainly no such backing file."""
        ...

    def data_file_is_missing(self, image_path: str, stored_name: bytes) -> bool:
        """Whether there is certainly no such external data file."""
        ...


class NeverLook:
    """Does not look at all."""

    def backing_is_missing(self, image_path: str, stored_name: bytes) -> bool:
        """Never certain."""
        return False

    def data_file_is_missing(self, image_path: str, stored_name: bytes) -> bool:
        """Never certain."""
        return False


class LookForFiles:
    """Asks the system whether a path exists, without opening it.

    Names with a protocol (``nbd:``, ``json:``, ``https:``) are not looked for.
    """

    def backing_is_missing(self, image_path: str, stored_name: bytes) -> bool:
        """A relative name is relative to the image's folder, as in QEMU."""
        return not _may_exist(_folder(image_path), stored_name)

    def data_file_is_missing(self, image_path: str, stored_name: bytes) -> bool:
        """QEMU 7.2 looks from the working directory, later versions beside the image."""
        return not (_may_exist(_folder(image_path), stored_name) or _may_exist(b"", stored_name))


def _folder(image_path: str) -> bytes:
    # Names are bytes of any kind, which pathlib does not take.
    return os.path.dirname(os.fsencode(image_path))  # noqa: PTH120


def _may_exist(folder: bytes, stored_name: bytes) -> bool:
    name = stored_name.removeprefix(b"file:")
    if not name or b"\0" in name or _PROTOCOL.match(name):
        return True
    try:
        return os.path.exists(os.path.join(folder, name))  # noqa: PTH110, PTH118
    except (OSError, ValueError):
        return True
