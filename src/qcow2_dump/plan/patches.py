"""Words that lie over other bytes: how they are kept, and how they are laid there."""

from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "NUMBER",
    "VALUE",
    "WORD",
    "Patch",
    "Store",
    "Swap",
    "packed_length",
    "unpack_words",
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


def unpack_words(packed: bytes) -> tuple[_Numbers, _Words, _Words]:
    """Numbers of words, 4 bytes each, then these as they were, then as they are to be.

    The numbers as int64[n], the words as little-endian uint64[n].
    """
    words = len(packed) // packed_length(1)
    at = np.frombuffer(packed, NUMBER, words)
    both = np.frombuffer(packed, VALUE, -1, at.nbytes)
    return at.astype(np.int64), both[:words], both[words:]


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
        """What `unpack_words` takes."""
        return self.store.read(self.position, packed_length(self.words))


class Patch(NamedTuple):
    """The old or the new words of a swap, counted from ``start`` bytes before a place."""

    swap: Swap
    is_new: bool
    start: int = 0

    def both(self) -> tuple[_Numbers, _Words, _Words]:
        """Their numbers, ascending (int64[n]), the other words and these (little-endian uint64)."""
        at, old, new = unpack_words(self.swap.packed())
        return (at, old, new) if self.is_new else (at, new, old)

    def lay_over(self, buffer: memoryview, start: int) -> None:
        """Lay them over bytes that begin ``start`` bytes behind the beginning of the place."""
        skipped = self.start + start
        at, _, words = self.both()
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
