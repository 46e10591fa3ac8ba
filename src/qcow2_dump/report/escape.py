"""Untrusted names made safe to show.

Names, paths and formats come from the image: they may hold terminal escapes, characters that
turn the reading direction around, line ends, or bytes that are no text at all.
"""

from qcow2_dump.image.shown_names import escaped

__all__ = ["one_line", "plain", "printable", "quoted"]

SHOWN_NAME = 80
"""Characters of a name that a report for people shows."""


def plain(name: bytes | str) -> str:
    """The whole name as text for JSON, which escapes control characters itself.

    Bytes that are not UTF-8 are shown as ``\\xff``, so that the text is always valid Unicode.
    """
    raw = name if isinstance(name, bytes) else _raw(name)
    return raw.decode("utf-8", "backslashreplace")


def printable(name: bytes | str, limit: int | None = None) -> str:
    """The name as one line of printable characters, at most ``limit`` of its own.

    Whatever Unicode does not call printable (control, format and bidi characters, line ends,
    unassigned code points) is shown as ``\\x1b`` or ``\\u202e``, and the backslash as two, so
    that no two names look alike.
    """
    if limit is not None and isinstance(name, bytes):
        # A character has four bytes at most: what lies behind so many need not be decoded.
        name = name[: 4 * limit + 4]
    return escaped(_cut(_text(name), limit))


def one_line(message: str, limit: int | None = None) -> str:
    """A message as one line of printable characters, at most ``limit`` of its own.

    The backslash stays as it is: names inside of messages have theirs escaped already.
    """
    text = _cut(plain(message), limit)
    return "".join(c if c.isprintable() else escaped(c) for c in text)


def quoted(name: bytes | str, limit: int | None = SHOWN_NAME) -> str:
    """The name as `printable` shows it, in double quotes."""
    return '"' + printable(name, limit).replace('"', '\\"') + '"'


def _cut(text: str, limit: int | None) -> str:
    if limit is None or len(text) <= limit:
        return text
    return text[: max(0, limit - 1)] + "…"


def _text(name: bytes | str) -> str:
    """The name with bytes that are no UTF-8 as surrogates."""
    try:
        raw = name if isinstance(name, bytes) else name.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return str(name)
    return raw.decode("utf-8", "surrogateescape")


def _raw(text: str) -> bytes:
    """The bytes of a path as the system gave it, or of any other text."""
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return text.encode("utf-8", "backslashreplace")
