"""Names from the image inside of messages: whole where they are bearable, and always text."""

__all__ = ["shown"]

# QEMU takes names of 255 bytes for snapshots, of 1023 for bitmaps and files; damage makes 65,535.
_LONGEST = 1024


def shown(name: bytes) -> str:
    """A name in double quotes; bytes that are no UTF-8 as ``\\xff``, cut after 1024 characters.

    Control characters are left in: whoever shows the message escapes them.
    """
    # A character has four bytes at most: what lies behind so many is not shown.
    text = name[: 4 * _LONGEST + 4].decode("utf-8", "backslashreplace")
    return f'"{text}"' if len(text) <= _LONGEST else f'"{text[:_LONGEST]}…"'
