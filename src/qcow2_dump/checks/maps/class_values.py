"""The values of which maps are made: classes, with a mark where something is damaged."""

import numpy as np
from numpy.typing import NDArray

__all__ = ["DAMAGED", "DAMAGED_BIT", "count_values"]

DAMAGED = 0x80
"""Added to a class (0 to 14) it makes the value of something of that class that is damaged."""

DAMAGED_BIT = 15
"""The bit of a mask that says that something is damaged; those below stand for classes."""


def count_values(values: NDArray[np.uint8]) -> dict[int, int]:
    """How often each value occurs; there are few different ones."""
    found: dict[int, int] = {}
    bits = value = int(np.bitwise_or.reduce(values))
    # All numbers without a bit that none of the values has.
    while value >= 0:
        number = int(np.count_nonzero(values == value))
        if number:
            found[value] = number
        value = (value - 1) & bits if value else -1
    return found
