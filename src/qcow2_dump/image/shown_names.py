"""Names from the image, on one line or inside of messages: always text, and never ambiguous.

Names hold any bytes. The backslash is escaped like all that cannot be shown, so that no name
looks like another one.
"""

__all__ = ["escaped", "shown"]

# QEMU takes names of 255 bytes for snapshots, of 1023 for bitmaps and files; damage makes 65,535.
_LONGEST = 1024


def shown(name: bytes) -> str:
    """A name in double quotes for a message, cut after 1024 characters.

    Bytes that are no UTF-8 appear as ``\\xff``, and the backslash is doubled. Control
    characters are left in: whoever shows the message escapes them.
    """
    # A character has four bytes at most: what lies behind so many is not shown.
    name = name[: 4 * _LONGEST + 4].replace(b"\\", b"\\\\")
    text = name.decode("utf-8", "backslashreplace")
    return f'"{text}"' if len(text) <= _LONGEST else f'"{text[:_LONGEST]}…"'


def escaped(text: str) -> str:
    """Text, in which undecodable bytes are surrogates, as one line of printable characters.

    What Unicode does not call printable is shown as ``\\x1b`` or ``\\u202e``, a byte that is no
    UTF-8 as ``\\xff``, the backslash as two.
    """
    return "".join(map(_escaped, text))


def _escaped(character: str) -> str:
    if character == "\\":
        return "\\\\"
    if character.isprintable():
        return character
    if "\udc80" <= character <= "\udcff":
        return f"\\x{ord(character) - 0xDC00:02x}"
    return character.encode("unicode_escape").decode("ascii")
