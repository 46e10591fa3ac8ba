"""The place of a number among many others, for millions of numbers in any order."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

__all__ = ["Ranks"]

# Where at least one in so many numbers is there, a bit for each number is worth its room.
_DENSE = 1024

_ONE = np.uint64(1)


class Ranks:
    """How many of some ascending, distinct numbers (int64, not negative) are not above another.

    They are given in parts, none of which is empty; ``numbers`` are all of them. No number that is
    asked about may be above the last one. Where the numbers lie close to each other they are
    looked up as bits, which is far quicker than a search.
    """

    def __init__(self, parts: Sequence[NDArray[np.int64]]) -> None:
        self.numbers = np.concatenate(parts)
        self._words: NDArray[np.uint64] | None = None
        last = int(self.numbers[-1])
        if len(self.numbers) * _DENSE > last:
            self._words = np.zeros((last >> 6) + 1, dtype=np.uint64)
            for part in parts:  # each small enough for the cache
                word = part >> 6
                heads = np.flatnonzero(np.append(True, word[1:] != word[:-1]))
                bits = np.left_shift(_ONE, (part & 63).view(np.uint64))
                self._words[word[heads]] |= np.bitwise_or.reduceat(bits, heads)
            held = np.bitwise_count(self._words)
            self._below: NDArray[np.int64] = np.cumsum(held, dtype=np.int64) - held

    def of(self, asked: NDArray[np.int64]) -> NDArray[np.int64]:
        """How many of the numbers are at most each of the ``asked`` ones (int64): int64."""
        if self._words is None:
            return np.searchsorted(self.numbers, asked, side="right")
        word = asked >> 6
        bits = np.left_shift(self._words[word], (63 - (asked & 63)).astype(np.uint64))
        ranks: NDArray[np.int64] = self._below[word] + np.bitwise_count(bits)
        return ranks
