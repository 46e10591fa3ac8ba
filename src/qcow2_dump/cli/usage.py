"""What both faces share when they read words: numbers, choices, and how they say no."""

import re
from collections.abc import Iterable

from qcow2_dump.errors import RequestError

__all__ = ["UsageError", "choose", "listed", "read_number", "read_size"]

_NUMBER = re.compile(r"0[xX][0-9a-fA-F]+|[0-9]+", re.ASCII)
_END_OF_NUMBERS = 2**64
_SHIFTS = {"K": 10, "M": 20, "G": 30, "T": 40}


class UsageError(RequestError):
    """A command line that makes no sense; the help of the command says what would."""


def read_number(text: str) -> int:
    """A number of 0 up to 2**64 - 1, decimal or with ``0x``. Raises ValueError for another."""
    # The length first: Python refuses to convert thousands of digits.
    if _NUMBER.fullmatch(text) and len(text) <= 40:
        number = int(text, 16 if text[:2] in ("0x", "0X") else 10)
        if number < _END_OF_NUMBERS:
            return number
    raise ValueError(f"{text!r} is no number from 0 to 2**64 - 1, decimal or 0x...")


def read_size(text: str) -> int:
    """Bytes, as a number or with a suffix: ``512M`` is 512 MiB. Raises ValueError for another."""
    shift = _SHIFTS.get(text[-1:].upper(), 0)
    try:
        size = read_number(text[:-1] if shift else text) << shift
    except ValueError:
        size = _END_OF_NUMBERS
    if size >= _END_OF_NUMBERS:
        raise ValueError(f"{text!r} is no size below 2**64 bytes, such as 512M (K, M, G or T)")
    return size


def choose(what: str, word: str, choices: Iterable[str]) -> str:
    """The word, if it is one of the choices. Raises UsageError that names them."""
    allowed = tuple(choices)
    if word not in allowed:
        raise UsageError(f"{what} is {word!r}, must be {listed(allowed)}")
    return word


def listed(words: Iterable[str]) -> str:
    """Words as a sentence has them: ``a, b or c``."""
    *most, last = words
    return f"{', '.join(most)} or {last}" if most else last
