"""The place of a number among many others, for millions of numbers in any order."""

import numpy as np
from numpy.typing import NDArray

__all__ = ["Ranks"]

# Where at least one in so many numbers is there, a bit for each number is worth its room.
_DENSE = 1024


class Ranks:
    """How many of some ascending, distinct numbers (int64, not negative) are not above another.

    None of those that are asked about may be above the last one. Where the numbers lie close to
    each other they are looked up as bits, which is far quicker than a search.
    """

    def __init__(self, numbers: NDArray[np.int64]) -> None:
        self._numbers = numbers
        self._words: NDArray[np.uint64] | None = None
        if len(numbers) * _DENSE > int(numbers[-1]):
            word = numbers >> 6
            heads = np.flatnonzero(np.append(True, word[1:] != word[:-1]))
            bits = np.left_shift(np.uint64(1), (numbers & 63).astype(np.uint64))
            self._words = np.zeros(int(word[-1]) + 1, dtype=np.uint64)
            self._words[word[heads]] = np.bitwise_or.reduceat(bits, heads)
            held = np.bitwise_count(self._words)
            self._below: NDArray[np.int64] = np.cumsum(held, dtype=np.int64) - held

    def of(self, asked: NDArray[np.int64]) -> NDArray[np.int64]:
        """How many of the numbers are at most each of the ``asked`` ones (int64): int64."""
        if self._words is None:
            return np.searchsorted(self._numbers, asked, side="right")
        word = asked >> 6
        bits = np.left_shift(self._words[word], (63 - (asked & 63)).astype(np.uint64))
        ranks: NDArray[np.int64] = self._below[word] + np.bitwise_count(bits)
        return ranks
