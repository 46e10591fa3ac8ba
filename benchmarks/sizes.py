"""Sizes as people type and read them."""

from argparse import ArgumentTypeError

_UNITS = {"K": 10, "M": 20, "G": 30, "T": 40}


def parse_size(text: str) -> int:
    """Bytes of `65536`, `64K`, `40M`, `64G` or `2T`. Raises ArgumentTypeError."""
    digits, shift = text, 0
    if text and text[-1].upper() in _UNITS:
        digits, shift = text[:-1], _UNITS[text[-1].upper()]
    if not digits.isascii() or not digits.isdigit():
        raise ArgumentTypeError(f"not a size: {text!r} (64G, 2T, 1048576)")
    return int(digits) << shift


def format_size(size: int) -> str:
    """The shortest exact form: `2 TiB`, `64 GiB`, `1000 bytes`."""
    for unit, shift in reversed(_UNITS.items()):
        if size and size % (1 << shift) == 0:
            return f"{size >> shift} {unit}iB"
    return f"{size} bytes"
