"""What differs between two versions of a place in the image, and how many units of it."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qcow2_dump.ondisk import arrays
from qcow2_dump.ondisk.constants import SECTOR_SIZE
from qcow2_dump.plan.spool import WORD, Blob, differing_words

__all__ = ["Change", "change_of", "change_of_words"]


@dataclass(frozen=True, slots=True)
class Change:
    """What differs between the bytes ``old`` and ``new`` of one place.

    ``start`` and ``end`` are a stretch of whole sectors that holds all of it, in bytes from the
    place on; ``count`` is the number of units.
    """

    old: Blob
    new: Blob
    start: int
    end: int
    count: int


def change_of(
    offset: int, unit_bits: int, old: tuple[Blob, bytes], new: tuple[Blob, bytes]
) -> Change | None:
    """What differs between two versions of a place, each put aside and at hand.

    The place is at a file offset in bytes, and made of units of ``unit_bits`` bits, or of none (0).
    """
    before, after = old[1], new[1]
    if before == after:
        return None
    if offset % WORD == 0 == len(before) % WORD:
        first, last = differing_words(before, after)[[0, -1]].tolist()
        first, last = first * WORD, last * WORD
    else:
        places = np.flatnonzero(np.frombuffer(before, np.uint8) != np.frombuffer(after, np.uint8))
        first, last = places[[0, -1]].tolist()
    start, end = _sectors(offset, len(before), first, last)
    units = _changed_units(unit_bits, before[start:end], after[start:end])
    return Change(old[0], new[0], start, end, units)


def change_of_words(
    offset: int,
    unit_bits: int,
    blobs: tuple[Blob, Blob],
    words: tuple[NDArray[np.int64], NDArray[np.uint64]],
) -> Change:
    """What differs between two versions of a place, put aside, of which the words that differ
    are known.

    ``words`` are their numbers, ascending (int64[n]), and the bits in which each differs, as they
    lie in the file (uint64[n]). Otherwise as `change_of`.
    """
    old, new = blobs
    at, flips = words
    last = int(at[-1]) * WORD + WORD - 1
    start, end = _sectors(offset, old.length, int(at[0]) * WORD, last)
    if 8 <= unit_bits <= 8 * WORD:
        count = int(np.count_nonzero(flips.view(f"u{unit_bits // 8}")))
        return Change(old, new, start, end, count)
    if unit_bits < 8:
        same = bytes(flips.nbytes)
        return Change(old, new, start, end, _changed_units(unit_bits, same, flips.tobytes()))
    units = at * (8 * WORD) // unit_bits
    return Change(old, new, start, end, int(np.count_nonzero(units[1:] != units[:-1])) + 1)


def _sectors(offset: int, length: int, first: int, last: int) -> tuple[int, int]:
    """The stretch of whole sectors around two bytes of those at an offset: start and end."""
    start = max(offset, (offset + first) // SECTOR_SIZE * SECTOR_SIZE)
    end = min(offset + length, ((offset + last) // SECTOR_SIZE + 1) * SECTOR_SIZE)
    return start - offset, end - offset


def _changed_units(unit_bits: int, old: bytes, new: bytes) -> int:
    """How many units differ; bytes without units are one."""
    if not unit_bits:
        return 1
    if unit_bits >= 8:
        size, word = unit_bits // 8, min(unit_bits // 8, 8)
        end = len(old) // size * size
        before, after = (np.frombuffer(data[:end], f"u{word}") for data in (old, new))
        differing = before != after
        if size > word:
            differing = differing.reshape(-1, size // word).any(axis=1)
        # A unit may be cut off by the end of the file.
        return int(np.count_nonzero(differing)) + (old[end:] != new[end:])
    order = unit_bits.bit_length() - 1
    return int(
        np.count_nonzero(arrays.unpack_refcounts(old, order) != arrays.unpack_refcounts(new, order))
    )
