"""Text made to fit a number of columns, which wide characters of East Asia take two of each."""

from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from unicodedata import category, east_asian_width

__all__ = ["end_within", "longest_within", "padded", "width", "wrapped"]

_WIDE = frozenset("WF")
_ON_TOP = frozenset(("Mn", "Me"))


def width(text: str) -> int:
    """The columns of a terminal that printable text takes; marks above letters take none."""
    return len(text) if text.isascii() else sum(map(_columns, text))


def padded(text: str, columns: int, *, right: bool = False) -> str:
    """Text with spaces behind it, or before it, up to so many columns."""
    spaces = " " * (columns - width(text))
    return spaces + text if right else text + spaces


def longest_within(columns: int, made: Callable[[int], str], most: int) -> str:
    """``made(n)`` for the largest n up to ``most`` with which it fits; for 0 if none does.

    ``made`` is given how many characters of a name to show.
    """
    if width(whole := made(most)) <= columns:
        return whole
    fits = bisect_right(range(most), columns, key=lambda shown: width(made(shown)))
    return made(max(0, fits - 1))


def end_within(text: str, columns: int, sign: str = "…") -> str:
    """The end of a path that is too long, behind a sign that says so."""
    if width(text) <= columns:
        return text
    left = columns - width(sign)
    start = len(text)
    while start and (left := left - _columns(text[start - 1])) >= 0:
        start -= 1
    return sign + text[start:]


def wrapped(
    text: str | Sequence[str], columns: int, first: str = "", then: str = ""
) -> Iterator[str]:
    """Words in lines, the first of which begins with ``first`` and all others with ``then``.

    Words may be given one by one, and then have spaces in them. One that is too long for a line
    is broken.
    """
    line, left, empty = first, columns - width(first), True
    for word in text.split(" ") if isinstance(text, str) else text:
        needed = width(word)
        if not empty and needed + 1 > left:
            yield line
            line, left, empty = then, columns - width(then), True
        if not empty:
            line, left = line + " ", left - 1
        if needed <= left:
            line, left, empty = line + word, left - needed, False
            continue
        for character in word:
            if (held := _columns(character)) > left and not empty:
                yield line
                line, left = then, columns - width(then)
            line, left, empty = line + character, left - held, False
    yield line


def _columns(character: str) -> int:
    if east_asian_width(character) in _WIDE:
        return 2
    return 0 if category(character) in _ON_TOP else 1
