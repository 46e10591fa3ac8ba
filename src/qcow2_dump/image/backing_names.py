"""What the name of a backing file stands for, by the rules that QEMU 7.2 opens it by.

Names are untrusted bytes of any kind; nothing here asks the system about them.
"""

import os

__all__ = ["full_backing_name", "has_protocol", "plain_backing_path"]


def has_protocol(name: bytes) -> bool:
    """Whether a name is no plain path but ``nbd:...``, ``json:...`` or the like.

    That is one with a colon before its first slash.
    """
    return b":" in name.partition(b"/")[0]


def full_backing_name(image_name: str, stored: bytes) -> bytes:
    """The name as QEMU opens it: a relative path goes on from the folder of the image.

    A name with a protocol stays as it is.
    """
    if stored.startswith(b"/") or has_protocol(stored):
        return stored
    image = os.fsencode(image_name)
    return image[: image.rfind(b"/") + 1] + stored


def plain_backing_path(image_name: str, stored: bytes) -> str | None:
    """The path to open; None for a name that no plain path can be.

    A path behind ``file:`` is relative to the working directory.
    """
    full = full_backing_name(image_name, stored)
    if full.startswith(b"file:"):
        full = full.removeprefix(b"file:")
    elif has_protocol(full):
        return None
    if not stored or not full or b"\0" in full:
        return None
    return os.fsdecode(full)
