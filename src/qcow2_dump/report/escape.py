"""Untrusted names made safe to show.

Names, paths and formats come from the image: they may hold terminal escapes, characters that
turn the reading direction around, line ends, or bytes that are no text at all.
"""

__all__ = ["plain", "printable", "quoted"]

SHOWN_NAME = 80
"""Characters of a name that a report for people shows."""


def plain(name: bytes | str) -> str:
    """The whole name as text for JSON, which escapes control characters itself.

    Bytes that are not UTF-8 are shown as ``\\xff``, so that the text is always valid Unicode.
    """
    raw = name if isinstance(name, bytes) else _raw(name)
    return raw.decode("utf-8", "backslashreplace")


def printable(name: bytes | str, limit: int | None = None) -> str:
    """The name as one line of printable characters, at most ``limit`` of them.

    Whatever Unicode does not call printable (control, format and bidi characters, line ends,
    unassigned code points) is shown as ``\\x1b`` or ``\\u202e``.
    """
    if limit is not None and isinstance(name, bytes):
        # A character has four bytes at most: what lies behind so many need not be decoded.
        name = name[: 4 * limit + 4]
    text = plain(name)
    if limit is not None and len(text) > limit:
        text = text[: max(0, limit - 1)] + "…"
    return "".join(c if c.isprintable() else _escaped(c) for c in text)


def quoted(name: bytes | str, limit: int | None = SHOWN_NAME) -> str:
    """The name as `printable` shows it, in double quotes."""
    return '"' + printable(name, limit).replace('"', '\\"') + '"'


def _raw(text: str) -> bytes:
    """The bytes of a path as the system gave it, or of any other text."""
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return text.encode("utf-8", "backslashreplace")


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")
