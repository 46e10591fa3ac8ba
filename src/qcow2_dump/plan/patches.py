"""Words that lie over other bytes: how they are kept, and how they are laid there."""

from typing import NamedTuple, Protocol, Self

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "NUMBER",
    "VALUE",
    "WORD",
    "Patch",
    "Store",
    "Swap",
    "WordChanges",
    "packed_length",
]

WORD = 8
"""Bytes of the words in which bytes are said to differ from others."""

NUMBER = np.dtype("<u4")
"""How the number of a word is kept."""

VALUE = np.dtype("<u8")
"""How a word is kept: its bytes as they lie in the file, seen as little-endian."""

_Numbers = NDArray[np.int64]
_Words = NDArray[np.uint64]


def packed_length(words: int) -> int:
    """The bytes of so many packed words, old and new."""
    return words * (NUMBER.itemsize + 2 * VALUE.itemsize)


class WordChanges(NamedTuple):
    """Some words of a place: their numbers, what they are and what they become.

    ``at`` ascends (int64[n]); ``old`` and ``new`` are the bytes as little-endian (uint64[n]).
    """

    at: _Numbers
    old: _Words
    new: _Words

    @classmethod
    def of(cls, at: _Numbers, before: bytes, after: bytes | bytearray) -> Self:
        """Those with some numbers, of a place before and after a change."""
        return cls(at, *(np.frombuffer(data, VALUE).take(at) for data in (before, after)))

    @classmethod
    def between(cls, before: bytes, after: bytes | bytearray) -> Self:
        """Those in which two versions of a place, made of whole words, differ."""
        differs = np.frombuffer(before, VALUE) != np.frombuffer(after, VALUE)
        return cls.of(np.flatnonzero(differs), before, after)

    @classmethod
    def unpack(cls, packed: bytes) -> Self:
        """What `pack` gives."""
        words = len(packed) // packed_length(1)
        at = np.frombuffer(packed, NUMBER, words)
        both = np.frombuffer(packed, VALUE, -1, at.nbytes)
        return cls(at.astype(np.int64), both[:words], both[words:])

    def pack(self) -> bytes:
        """The numbers, 4 bytes each, then all of the old words, then all of the new ones."""
        parts = self.at.astype(NUMBER), self.old.astype(VALUE), self.new.astype(VALUE)
        return b"".join(part.data for part in parts)


class Store(Protocol):
    """Where bytes were put aside."""

    def read(self, position: int, length: int) -> bytes:
        """Some of them, by their position."""


class Swap(NamedTuple):
    """Some words of a place before and after a change: ``words`` of them, packed in a store."""

    store: Store
    position: int
    words: int

    def packed(self) -> bytes:
        """What `WordChanges.unpack` takes."""
        return self.store.read(self.position, packed_length(self.words))


class Patch(NamedTuple):
    """The old or the new words of a swap, counted from ``start`` bytes before a place."""

    swap: Swap
    is_new: bool
    start: int = 0

    def words(self) -> WordChanges:
        """What makes them of the other ones."""
        words = WordChanges.unpack(self.swap.packed())
        return words if self.is_new else WordChanges(words.at, words.new, words.old)

    def lay_over(self, buffer: memoryview, start: int) -> None:
        """Lay them over bytes that begin ``start`` bytes behind the beginning of the place."""
        skipped = self.start + start
        at, _, words = self.words()
        if skipped % WORD or len(buffer) % WORD:
            # Words that lie across the ends of what is looked at: byte by byte.
            places = (at[:, np.newaxis] * WORD + np.arange(WORD) - skipped).reshape(-1)
            inside = (places >= 0) & (places < len(buffer))
            np.frombuffer(buffer, np.uint8)[places[inside]] = words.view(np.uint8)[inside]
            return
        at -= skipped // WORD
        held = np.frombuffer(buffer, VALUE)
        if len(at) and (int(at[0]) < 0 or int(at[-1]) >= len(held)):
            within = (at >= 0) & (at < len(held))
            at, words = at[within], words[within]
        held[at] = words
