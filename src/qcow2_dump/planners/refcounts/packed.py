"""A few refcounts of a block, as bits of the words that hold them (format section 2.2)."""

from functools import cache

import numpy as np
from numpy.typing import NDArray

from qcow2_dump.planners.draft import Words

__all__ = ["refcount_words"]

_I64 = NDArray[np.int64]
_U64 = NDArray[np.uint64]

_WORD_BITS = 64
# Where more refcounts change, all bytes are packed sooner than a few of them.
_MOST_CHANGED = 1 / 4


def refcount_words(length: int, at: _I64, flips: _U64, values: _U64, bits: int) -> Words | None:
    """Some of ``length`` refcounts of ``bits`` bits each, which begin with a whole word.

    ``at`` are their positions, ascending (int64[n]); ``flips`` the bits in which each changes,
    perhaps none, and ``values`` what it is to be (uint64[n]). None where whole words do not hold
    them, or where they are many.
    """
    changing = np.flatnonzero(flips)
    if length * bits % _WORD_BITS or len(changing) > length * _MOST_CHANGED:
        return None
    at, flips = at[changing], flips[changing]
    per_word = _WORD_BITS // bits
    shift = _shifts(bits)[at & per_word - 1]
    word = at >> per_word.bit_length() - 1
    mask, new = flips << shift, (values[changing] & flips) << shift
    starts = np.flatnonzero(np.append(True, word[1:] != word[:-1]))
    if len(starts) < len(word):
        mask, new = (np.bitwise_or.reduceat(parts, starts) for parts in (mask, new))
        word = word[starts]
    return Words(length * bits // _WORD_BITS, word, mask, new)


@cache
def _shifts(bits: int) -> _U64:
    """By how many bits each refcount of a big-endian word is above its lowest bit: uint64."""
    first = np.arange(0, _WORD_BITS, bits, dtype=np.uint64)
    if bits >= 8:
        return np.flip(first)
    # Within a byte the first refcount is in the lowest bits.
    byte, within = first >> np.uint64(3), first & np.uint64(7)
    return (np.uint64(7) - byte << np.uint64(3)) + within
