"""Lines of text made for a whole array at once.

A dump has millions of lines that differ in a few numbers. Formatting them one by one costs half
a microsecond each; here they are laid out as a matrix of characters, one row a line, which costs
a tenth of that. Cells that a row does not need hold NUL characters, which are dropped at the end.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Decimal", "Hexadecimal", "Piece", "Words", "rendered"]

# Lines laid out at a time: enough for numpy, and few enough to stay in the cache and in the heap.
_LINES = 2048

_Cells = NDArray[np.uint8]
_Mask = NDArray[np.bool_]
_Numbers = NDArray[Any]

_HEX_PAIRS = np.frombuffer(b"".join(b"%02x" % byte for byte in range(256)), np.uint16)
_POWERS = np.array([1000, 100, 10, 1])
_DECIMALS = (np.arange(10_000)[:, None] // _POWERS % 10 + ord("0")).astype(np.uint8).view(np.uint32)
_DECIMALS = _DECIMALS.reshape(-1)
_SPACE = ord(" ")


@dataclass(frozen=True, slots=True)
class Decimal:
    """Numbers of 0 or more, decimal, padded on the left with spaces to ``width`` characters.

    ``values`` is an integer array with one number a line; lines that ``where`` leaves out show
    nothing.
    """

    values: _Numbers
    width: int = 1
    where: _Mask | None = None


@dataclass(frozen=True, slots=True)
class Hexadecimal:
    """Numbers in hexadecimal without a prefix, padded with zeros to ``digits``.

    ``values`` and ``where`` as in `Decimal`.
    """

    values: _Numbers
    digits: int = 1
    where: _Mask | None = None


@dataclass(frozen=True, slots=True)
class Words:
    """One of some words a line: ``codes`` is an integer array of indices into ``words``."""

    codes: _Numbers
    words: tuple[bytes, ...]


Piece = bytes | Decimal | Hexadecimal | Words
"""Part of a line: the same in every line (UTF-8), or a column of numbers or words."""


def rendered(count: int, *pieces: Piece) -> Iterator[str]:
    """The text of ``count`` lines, each made of the pieces in order, in parts of some size.

    The pieces bring the line ends themselves; none may hold a NUL character.
    """
    for start in range(0, count, _LINES):
        yield _part(slice(start, min(start + _LINES, count)), pieces)


def _part(rows: slice, pieces: tuple[Piece, ...]) -> str:
    """The text of some of the lines."""
    columns = [_cells(piece, rows) for piece in pieces]
    fixed = b"".join(c if isinstance(c, bytes) else bytes(c[0].shape[1]) for c in columns)
    lines = np.full(rows.stop - rows.start, np.void(fixed))
    matrix = lines.view(np.uint8).reshape(len(lines), len(fixed))
    at, ragged = 0, False
    for column in columns:
        if isinstance(column, bytes):
            at += len(column)
            continue
        cells, uneven = column
        width = cells.shape[1]
        # The characters of a row as one item: copied at once, not one by one.
        matrix[:, at : at + width].view(f"V{width}")[:] = cells.view(f"V{width}")
        at += width
        ragged |= uneven
    flat = matrix.reshape(-1)
    return str((flat[flat != 0] if ragged else flat).data, "utf-8")


def _cells(piece: Piece, rows: slice) -> bytes | tuple[_Cells, bool]:
    """The characters of a piece, uint8[rows, width], and whether there are NULs among them."""
    if isinstance(piece, bytes):
        return piece
    if isinstance(piece, Words):
        return _word_cells(piece.codes[rows], piece.words)
    values = piece.values[rows].astype(np.uint64)
    where = None if piece.where is None else piece.where[rows]
    if where is not None:
        values[~where] = 0
    highest, lowest = int(values.max()), int(values.min())
    if isinstance(piece, Decimal):
        cells, ragged = _decimal_cells(values, lowest, highest, piece.width)
    else:
        cells, ragged = _hex_cells(values, lowest, highest, piece.digits)
    if where is not None and not where.all():
        cells[~where] = 0
        ragged = True
    return cells, ragged


def _word_cells(codes: _Numbers, words: tuple[bytes, ...]) -> tuple[_Cells, bool]:
    width = max(map(len, words))
    table = np.frombuffer(b"".join(word.ljust(width, b"\0") for word in words), np.uint8)
    cells: _Cells = table.reshape(len(words), width)[codes]
    return cells, any(len(word) < width for word in words)


def _hex_cells(
    values: NDArray[np.uint64], lowest: int, highest: int, digits: int
) -> tuple[_Cells, bool]:
    longest = max(digits, _hex_digits(highest))
    shortest = max(digits, _hex_digits(lowest))
    pairs = (longest + 1) // 2
    stored = values.astype(">u8").view(np.uint8).reshape(len(values), 8)[:, 8 - pairs :]
    cells = _HEX_PAIRS[stored].view(np.uint8)[:, 2 * pairs - longest :]
    for digit in range(shortest, longest):
        # Digit number `digit`, counted from the right, is a leading zero below 16**digit.
        cells[values < np.uint64(1 << 4 * digit), longest - 1 - digit] = 0
    return cells, shortest < longest


def _hex_digits(value: int) -> int:
    return max(1, -(-value.bit_length() // 4))


def _decimal_cells(
    values: NDArray[np.uint64], lowest: int, highest: int, width: int
) -> tuple[_Cells, bool]:
    longest, shortest = len(str(highest)), len(str(lowest))
    groups = -(-max(longest, width) // 4)
    quads = np.empty((len(values), groups), np.uint32)
    rest = values
    for group in range(groups - 1, 0, -1):
        above = rest // np.uint64(10_000)
        quads[:, group] = _DECIMALS[rest - above * np.uint64(10_000)]
        rest = above
    quads[:, 0] = _DECIMALS[rest]
    total = max(longest, width)
    cells = quads.view(np.uint8)[:, 4 * groups - total :]
    for digit in range(shortest, total):
        short = values < np.uint64(10**digit) if digit < longest else slice(None)
        cells[short, total - 1 - digit] = _SPACE if digit < width else 0
    return cells, max(shortest, width) < longest
