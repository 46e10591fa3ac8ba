"""What differs between two versions of a place in the image, and how many units of it."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from qcow2_dump.ondisk import arrays
from qcow2_dump.ondisk.constants import SECTOR_SIZE
from qcow2_dump.plan.patches import WORD, WordChanges
from qcow2_dump.plan.spool import Blob, Spool

__all__ = ["Change", "change_of"]

_I64 = NDArray[np.int64]


class Change(NamedTuple):
    """What differs between two versions of a place.

    ``old`` and ``new`` are the whole sectors at a file offset (in bytes) that hold all of it, put
    aside; ``units`` how many units differ.
    """

    offset: int
    old: Blob
    new: Blob
    units: int


def change_of(
    spool: Spool,
    offset: int,
    unit_bits: int,
    before: bytes,
    after: bytes | bytearray,
    words: WordChanges | None = None,
    *,
    whole: bool = False,
) -> Change | None:
    """What differs between two versions of the place at a file offset in bytes; None for nothing.

    The place is made of units of ``unit_bits`` bits, or of none (0): then all of its bytes are put
    aside, because whoever shows the change has no other way to them; otherwise all of them only
    if it is to be the ``whole``. ``words`` are those of 8 bytes that differ, one at least, where
    they are known. Raises SourceError as `Spool.put`.
    """
    if words is None and before == after:
        return None
    if offset % WORD or len(before) % WORD or not unit_bits:
        places = np.flatnonzero(np.frombuffer(before, np.uint8) != np.frombuffer(after, np.uint8))
        start, end = _sectors(offset, len(before), int(places[0]), int(places[-1]))
        blobs = spool.put(before[start:end]), spool.put(after[start:end])
        return Change(offset + start, *blobs, _changed(unit_bits, before, after))
    words = WordChanges.between(before, after) if words is None else words
    at, was, will = words
    start, end = _sectors(offset, len(before), int(at[0]) * WORD, int(at[-1]) * WORD)
    count = _flipped(unit_bits, was ^ will) if unit_bits <= 8 * WORD else _wide(unit_bits, at)
    if end - start < len(before):
        before, after = before[start:end], after[start:end]
    if whole:
        return Change(offset + start, spool.put(before), spool.put(after), count)
    if start or unit_bits > 8 * WORD:
        words = WordChanges.of(_whole_units(unit_bits, at, start, end), before, after)
    return Change(offset + start, *spool.put_change(before, after, words), count)


def _whole_units(unit_bits: int, at: _I64, start: int, end: int) -> _I64:
    """The words of the units that some words belong to, counted from ``start`` (in bytes).

    Of those from there to ``end``.
    """
    wide = unit_bits // (8 * WORD)
    if wide > 1:
        units = np.unique(at // wide)
        at = (units[:, np.newaxis] * wide + np.arange(wide)).reshape(-1)
        at = at[(at >= start // WORD) & (at < end // WORD)]
    return at - start // WORD if start else at


def _wide(unit_bits: int, at: _I64) -> int:
    """How many units of more than a word differ, given the words that do."""
    units = at * (8 * WORD) // unit_bits
    return int(np.count_nonzero(units[1:] != units[:-1])) + 1


def _sectors(offset: int, length: int, first: int, last: int) -> tuple[int, int]:
    """The stretch of whole sectors around two bytes of those at an offset: start and end."""
    start = max(offset, (offset + first) // SECTOR_SIZE * SECTOR_SIZE)
    end = min(offset + length, ((offset + last) // SECTOR_SIZE + 1) * SECTOR_SIZE)
    return start - offset, end - offset


def _flipped(unit_bits: int, flips: NDArray[np.uint64]) -> int:
    """How many units have any of some flipped bits, as they lie in the file."""
    if unit_bits < 8:
        return _changed(unit_bits, flips.tobytes(), bytes(flips.nbytes))
    return int(np.count_nonzero(flips.view(f"u{unit_bits // 8}")))


def _changed(unit_bits: int, old: bytes, new: bytes | bytearray) -> int:
    """How many units differ; bytes without units are one."""
    if not unit_bits:
        return 1
    if unit_bits < 8:
        order = unit_bits.bit_length() - 1
        was, will = (arrays.unpack_refcounts(bytes(data), order) for data in (old, new))
        return int(np.count_nonzero(was != will))
    size, word = unit_bits // 8, min(unit_bits // 8, WORD)
    end = len(old) // size * size
    before, after = (np.frombuffer(data[:end], f"u{word}") for data in (old, new))
    differing = before != after
    if size > word:
        differing = differing.reshape(-1, size // word).any(axis=1)
    # A unit may be cut off by the end of the file.
    return int(np.count_nonzero(differing)) + (old[end:] != new[end:])
