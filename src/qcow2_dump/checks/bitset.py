"""One bit for each host cluster."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

__all__ = ["BitSet"]

# Words looked at together: what is made of them must not fill the memory.
_CHUNK = 1 << 13

_ONE = np.uint64(1)


class BitSet:
    """A set of small integers below ``size``, one bit each.

    Indices are int64 arrays; every index must be below ``size``. A set takes no room until
    something is put into it: most sets of a check stay empty.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self._filled: NDArray[np.uint8] | None = None
        self._words = np.zeros(0, dtype=np.uint64)
        self._ranks: NDArray[np.uint32] | None = None

    @property
    def _bytes(self) -> NDArray[np.uint8]:
        """The bits, eight to a byte, lowest first."""
        if self._filled is None:
            # Whole words, one of them behind the last member, for those who count.
            self._words = np.zeros((self.size >> 6) + 1, dtype=np.dtype("<u8"))
            self._filled = self._words.view(np.uint8)[: (self.size + 7) // 8]
        return self._filled

    def add(self, indices: NDArray[np.int64]) -> None:
        """Put some indices into the set; they may repeat."""
        if not len(indices):
            return
        bits = np.left_shift(np.uint8(1), (indices & 7).astype(np.uint8))
        np.bitwise_or.at(self._bytes, indices >> 3, bits)
        self._ranks = None

    def update(self, other: "BitSet") -> None:
        """Put the members of another set into this one; those that are too large are left out."""
        if other:
            common = min(self.size, other.size)
            whole = common >> 3
            self._bytes[:whole] |= other._bytes[:whole]
            self._ranks = None
            self.add(np.flatnonzero(other.flags(whole << 3, common)) + (whole << 3))

    def update_between(self, other: "BitSet", first: int, end: int) -> None:
        """Put the members of another set of the same size into this one that are not smaller than
        ``first`` and smaller than ``end``, multiples of 8."""
        if other._filled is not None:
            self._bytes[first >> 3 : end >> 3] |= other._bytes[first >> 3 : end >> 3]
            self._ranks = None

    def store(self, first: int, flags: NDArray[np.bool_]) -> None:
        """Write the flags of the indices from ``first`` on, which is a multiple of 8.

        Flags past the end of the set are left out; the bits behind a last, incomplete byte are
        cleared.
        """
        flags = flags[: max(0, self.size - first)]
        packed = np.packbits(flags, bitorder="little")
        self._bytes[first >> 3 : (first >> 3) + len(packed)] = packed
        self._ranks = None

    def include(self, first: int, flags: NDArray[np.bool_]) -> None:
        """Put those of the indices from ``first`` on into the set whose flag is set.

        ``first`` is a multiple of 8; no flag past the end of the set may be set.
        """
        packed = np.packbits(flags, bitorder="little")
        self._bytes[first >> 3 : (first >> 3) + len(packed)] |= packed
        self._ranks = None

    def contains(self, indices: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Which of some indices are in the set: bool[n]."""
        if self._filled is None:
            return np.zeros(len(indices), dtype=np.bool_)
        # Among so many bytes twice as fast as `take`.
        held = self._filled[indices >> 3]
        # Of each index only the lowest byte matters, and bytes are quicker.
        low = indices.astype(np.uint8)
        low &= 7
        held >>= low
        held &= 1
        flags: NDArray[np.bool_] = held.view(np.bool_)
        return flags

    def count_between(self, first: NDArray[np.int64], end: NDArray[np.int64]) -> NDArray[np.int64]:
        """How many members each range has: from ``first`` to ``end``, not included (int64)."""
        if self._filled is None or not len(first):
            return np.zeros(len(first), dtype=np.int64)
        below = self._members_below(first)
        behind = np.append(below[1:], 0)
        # Many a range begins where the one before ends.
        apart = np.append(np.flatnonzero(end[:-1] != first[1:]), len(end) - 1)
        behind[apart] = self._members_below(end[apart])
        counts: NDArray[np.int64] = behind - below
        return counts

    def _members_below(self, indices: NDArray[np.int64]) -> NDArray[np.int64]:
        """How many members are smaller than each of some indices: int64."""
        if self._ranks is None:
            self._ranks = np.zeros(len(self._words), dtype=np.uint32)
            np.cumsum(np.bitwise_count(self._words[:-1]), out=self._ranks[1:])
        word = indices >> 6
        below = (_ONE << (indices & 63).view(np.uint64)) - _ONE
        within = np.bitwise_count(self._words.take(word) & below)
        return within + self._ranks.take(word).astype(np.int64)

    def flags(self, first: int, end: int) -> NDArray[np.bool_]:
        """The flags of the indices ``first`` to ``end``, not included: bool[end - first]."""
        if self._filled is None:
            return np.zeros(max(0, min(end, -(-self.size // 8) * 8) - first), dtype=np.bool_)
        start = first & ~7
        bits = np.unpackbits(self._bytes[start >> 3 : (end + 7) >> 3], bitorder="little")
        return bits[first - start : end - start].view(np.bool_)

    def any_in(self, first: int, end: int) -> bool:
        """Whether any index from ``first``, a multiple of 8, to ``end`` may be in the set.

        Certain where ``end`` is a multiple of 8 or the end of the set.
        """
        if self._filled is None:
            return False
        return bool(self._filled[first >> 3 : (end + 7) >> 3].any())

    def common_with(self, other: "BitSet") -> int:
        """How many members are also in another set of the same size."""
        if self._filled is None or other._filled is None:
            return 0
        pieces = (slice(at, at + _CHUNK) for at in range(0, len(self._words), _CHUNK))
        return sum(
            int(np.bitwise_count(self._words[piece] & other._words[piece]).sum(dtype=np.int64))
            for piece in pieces
        )

    def __len__(self) -> int:
        if self._filled is None:
            return 0
        return int(np.bitwise_count(self._words).sum(dtype=np.int64))

    def __bool__(self) -> bool:
        return self._filled is not None and bool(self._filled.any())

    def chunks(self, first: int = 0, end: int | None = None) -> Iterator[NDArray[np.int64]]:
        """The members in ascending order, in arrays of bounded length: int64.

        Those before ``first`` and from ``end`` on, multiples of 64, are left out.
        """
        if self._filled is None:
            return
        behind = len(self._words) if end is None else end >> 6
        for start in range(first >> 6, behind, _CHUNK):
            words = self._words[start : min(start + _CHUNK, behind)]
            filled = np.flatnonzero(words)
            if len(filled):
                bits = np.unpackbits(words[filled].view(np.uint8), bitorder="little")
                at = np.flatnonzero(bits.view(np.bool_))
                yield (filled[at >> 6] + start << 6) + (at & 63)

    def first(self, limit: int) -> NDArray[np.int64]:
        """The smallest members, at most ``limit``: int64."""
        found: list[NDArray[np.int64]] = []
        for chunk in self.chunks():
            found.append(chunk[:limit])
            limit -= len(found[-1])
            if limit <= 0:
                break
        return np.concatenate(found) if found else np.zeros(0, dtype=np.int64)
