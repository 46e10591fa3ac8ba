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
    """Says whether a file that an image names is there."""

    def is_missing(self, image_path: str, stored_name: bytes) -> bool:
        """True only when it is certain that there is no such file."""
        ...


class NeverLook:
    """Does not look at all."""

    def is_missing(self, image_path: str, stored_name: bytes) -> bool:
        """Never certain."""
        return False


class LookForFiles:
    """Asks the system whether a path exists, without opening it.

    A relative name is relative to the image's folder or the working directory. Names with a
    protocol (``nbd:``, ``json:``, ``https:``) are not looked for.
    """

    def is_missing(self, image_path: str, stored_name: bytes) -> bool:
        """Whether ``stored_name`` is a plain path at which there is nothing."""
        name = stored_name.removeprefix(b"file:")
        if not name or b"\0" in name or _PROTOCOL.match(name):
            return False
        # Names are bytes of any kind, which pathlib does not take.
        folder = os.path.dirname(os.fsencode(image_path))  # noqa: PTH120
        try:
            # QEMU takes a data file's name relative to the working directory.
            beside = os.path.join(folder, name)  # noqa: PTH118
            return not (os.path.lexists(beside) or os.path.lexists(name))
        except (OSError, ValueError):
            return False
