"""Words that lie over other bytes: how they are kept, and how they are laid there."""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "NUMBER",
    "VALUE",
    "WORD",
    "LooseBytes",
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
        if skipped % WORD or len(buffer) % WORD:
            self.as_bytes().lay_over(buffer, start)
            return
        at, _, words = self.both()
        at -= skipped // WORD
        held = np.frombuffer(buffer, VALUE)
        if len(at) and (int(at[0]) < 0 or int(at[-1]) >= len(held)):
            inside = (at >= 0) & (at < len(held))
            at, words = at[inside], words[inside]
        held[at] = words

    def as_bytes(self) -> "LooseBytes":
        """Each byte of them by itself."""
        at, _, words = self.both()
        places = at[:, np.newaxis] * WORD + np.arange(WORD) - self.start
        return LooseBytes(places.reshape(-1), words.view(np.uint8))


class LooseBytes(NamedTuple):
    """Some bytes of a place, and where they are in it, ascending (int64[n], uint8[n])."""

    places: _Numbers
    values: NDArray[np.uint8]
    start: int = 0

    @classmethod
    def merged(cls, patches: Sequence["Patch | LooseBytes"]) -> "LooseBytes":
        """What several become that lie one over the other, the last one on top."""
        parts = [patch.as_bytes() for patch in reversed(patches)]
        places = np.concatenate([part.places for part in parts])
        values = np.concatenate([part.values for part in parts])
        places, first = np.unique(places, return_index=True)
        return cls(places, values[first])

    def lay_over(self, buffer: memoryview, start: int) -> None:
        """As `Patch.lay_over`."""
        places = self.places - (self.start + start)
        inside = (places >= 0) & (places < len(buffer))
        np.frombuffer(buffer, np.uint8)[places[inside]] = self.values[inside]

    def as_bytes(self) -> "LooseBytes":
        """Themselves, counted from the beginning of the place."""
        return LooseBytes(self.places - self.start, self.values)
