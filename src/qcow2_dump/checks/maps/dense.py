"""Cells of a map where many short runs are: counted by bits, which takes no look at each run."""

from collections.abc import Iterable, Mapping

import numpy as np
from numpy.typing import NDArray

from qcow2_dump.checks.maps.class_values import DAMAGED, DAMAGED_BIT

__all__ = ["class_of_most", "count_cells"]


def count_cells(
    values: NDArray[np.uint8], present: Iterable[int], cell_bits: int
) -> tuple[NDArray[np.uint8], NDArray[np.uint16]]:
    """The class of most of each cell of ``1 << cell_bits`` values, and the mask of all in it.

    ``values`` are classes, with `DAMAGED` or not, a whole number of cells of at least eight;
    ``present`` are all that occur, each once. Returns uint8[cells] and uint16[cells].
    """
    number = len(values) >> cell_bits
    word = np.uint8 if cell_bits < 6 else np.uint64
    mask = np.zeros(number, dtype=np.uint16)
    shares: dict[int, NDArray[np.int64]] = {}
    for value in present:
        words = np.packbits(values == value).view(word)
        # Column by column, as the rows are short.
        counts = np.bitwise_count(words).reshape(number, -1).T.astype(np.int64, order="C")
        held = np.add.reduce(counts, axis=0)
        kind = value & ~DAMAGED
        bits = 1 << kind | (1 << DAMAGED_BIT if value & DAMAGED else 0)
        mask |= (held != 0) * np.uint16(bits)
        shares[kind] = shares[kind] + held if kind in shares else held
    return class_of_most(shares, number), mask


def class_of_most(shares: Mapping[int, NDArray[np.int64]], number: int) -> NDArray[np.uint8]:
    """The class with the largest share in each of so many cells, of equal ones the lowest.

    ``shares`` are int64[number], by class.
    """
    best = np.zeros(number, dtype=np.uint8)
    most = np.zeros(number, dtype=np.int64)
    for kind in sorted(shares):
        best[shares[kind] > most] = kind
        np.maximum(most, shares[kind], out=most)
    return best
