"""The refcounts that change, as bits of the words that hold them (format section 2.2)."""

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from qcow2_dump.planners.draft import Words
from qcow2_dump.planners.refcounts.targets import Stretch

__all__ = ["ChangedWords", "changed_words"]

_WORD_BITS = 64
# Where more refcounts change, all of them are packed sooner than a few.
_MOST_CHANGED = 1 / 4


@dataclass(frozen=True, slots=True)
class ChangedWords:
    """The words of the clusters from ``first`` on that change, with refcounts of ``bits`` bits.

    ``words`` is None where they are many.
    """

    first: int
    bits: int
    words: Words | None

    def of(self, part: Stretch) -> Words | None:
        """The words of a block, or of a part of it; None where whole words do not hold it."""
        begin, length = (part.first - self.first) * self.bits, len(part.stored) * self.bits
        if self.words is None or length % _WORD_BITS:
            return None
        return self.words.part(begin // _WORD_BITS, (begin + length) // _WORD_BITS)


def changed_words(stretch: Stretch, chosen: NDArray[np.bool_], bits: int) -> ChangedWords:
    """What becomes of the chosen refcounts of a stretch, which begins with a whole word.

    ``chosen`` are some of those that differ and will be others than they are (bool[n]).
    """
    which, length = np.flatnonzero(chosen), len(stretch.stored)
    if len(which) > length * _MOST_CHANGED:
        return ChangedWords(stretch.first, bits, None)
    at, target = stretch.differing.take(which), stretch.target.take(which)
    flips = stretch.held.take(which) ^ target
    per_word = _WORD_BITS // bits
    shift = _shifts(bits).take(at & per_word - 1)
    word = at >> per_word.bit_length() - 1
    mask, new = flips << shift, (target & flips) << shift
    starts = np.flatnonzero(word[1:] != word[:-1]) + 1
    if len(starts) + 1 < len(word):
        starts = np.append(0, starts)
        word = word.take(starts)
        mask, new = np.bitwise_or.reduceat(mask, starts), np.bitwise_or.reduceat(new, starts)
    return ChangedWords(stretch.first, bits, Words(-(-length // per_word), word, mask, new))


@cache
def _shifts(bits: int) -> NDArray[np.uint64]:
    """By how many bits each refcount of a big-endian word is above its lowest bit: uint64."""
    first = np.arange(0, _WORD_BITS, bits, dtype=np.uint64)
    if bits >= 8:
        return np.flip(first)
    # Within a byte the first refcount is in the lowest bits.
    byte, within = first >> np.uint64(3), first & np.uint64(7)
    return (np.uint64(7) - byte << np.uint64(3)) + within
