"""Where the bytes of a plan wait: in memory while there are few, then in a temporary file."""

import os
import tempfile
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

__all__ = ["WORD", "Blob", "Patch", "Spool", "any_bits", "differing_words"]

WORD = 8
"""Bytes of the words in which bytes are said to differ from others."""

# A repair of a sound size stays in memory; one of terabytes goes to the disk for temporary files.
_IN_MEMORY = 2 << 20

_INDEX = np.dtype("<u4")
_VALUE = np.dtype("<u8")
_PACKED = _INDEX.itemsize + _VALUE.itemsize
# Where more of the words differ, all bytes are kept: they are read sooner than put together.
_MOST_DIFFERING = 1 / 4
# Words of less are not worth the trouble, and what is read piece by piece must not have all its
# words looked at for each piece.
_SHORTEST_PATCHED = 4 << 10
_LONGEST_PATCHED = 2 << 20
# What was changed so often before is not looked for under all of it.
_MOST_PATCHES = 4


class Spool:
    """Bytes put aside, to be read again in any order."""

    def __init__(self) -> None:
        self._held = bytearray()
        self._file: BinaryIO | None = None
        self._length = 0

    def put(self, data: bytes | bytearray | memoryview) -> "Blob":
        """Put some bytes aside; those that are all zeros take no room.

        Raises OSError when a temporary file is needed and has no room.
        """
        if not any_bits(data):
            return Blob(None, 0, len(data))
        return Blob(self, self._append(data), len(data))

    def put_over(self, base: "Blob", old: bytes, new: bytes) -> "Blob":
        """Put ``new`` aside as what it differs in from ``old``, the bytes of ``base``.

        Of what differs too much, all bytes. Raises as `put`.
        """
        if len(old) % WORD or not any_bits(new):
            return self.put(new)
        if old == new:
            return base
        if len(old) < _SHORTEST_PATCHED:
            return self.put(new)
        at = differing_words(old, new)
        if not _is_worth_it(base, at):
            return self.put(new)
        return self.put_words(base, at, np.frombuffer(new, _VALUE)[at])

    def put_words(
        self,
        base: "Blob",
        at: NDArray[np.int64],
        words: NDArray[np.uint64],
        old: bytes | None = None,
    ) -> "Blob":
        """Put aside what ``base`` becomes by some other words of 8 bytes.

        ``at`` are their numbers in it (int64[n]), ascending; ``words`` their bytes as a
        little-endian number each (uint64[n]). ``old`` are the bytes of ``base``, where they are at
        hand. Raises as `put`.
        """
        if not len(at):
            return base
        if not _is_worth_it(base, at):
            whole = bytearray(base.read() if old is None else old)
            np.frombuffer(whole, _VALUE, base.length // WORD)[at] = words
            return self.put(whole)
        packed = at.astype(_INDEX).tobytes() + words.astype(_VALUE).tobytes()
        patch = Patch(self, self._append(packed), len(at))
        return Blob(base.spool, base.position, base.length, (*base.patches, patch))

    def read(self, position: int, length: int) -> bytes:
        """Bytes put aside earlier, by their position among all of them."""
        if self._file is None:
            return bytes(memoryview(self._held)[position : position + length])
        # A regular file gives all that was written to it.
        return os.pread(self._file.fileno(), length, position)

    def read_into(self, position: int, buffer: memoryview) -> None:
        """Fill a buffer with bytes put aside earlier."""
        if self._file is None:
            buffer[:] = memoryview(self._held)[position : position + len(buffer)]
        else:
            os.preadv(self._file.fileno(), [buffer], position)

    def close(self) -> None:
        """Give up all that was put aside."""
        self._held = bytearray()
        if self._file is not None:
            self._file.close()

    def __del__(self) -> None:
        # A plan that was given up half way lets go of its bytes without anybody minding them.
        self.close()

    def _append(self, data: bytes | bytearray | memoryview) -> int:
        """Have some bytes behind all others; returns their position."""
        position = self._length
        if self._file is None and position + len(data) <= _IN_MEMORY:
            self._held += data
        else:
            if self._file is None:
                self._file = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115 - closed above
                _write(self._file, self._held, 0)
                self._held = bytearray()
            _write(self._file, data, position)
        self._length += len(data)
        return position


@dataclass(frozen=True, slots=True)
class Patch:
    """Some words that lie over other bytes: ``words`` of them, at ``position`` of a spool.

    They are counted from ``start`` bytes before those that they lie over.
    """

    spool: Spool
    position: int
    words: int
    start: int = 0

    def lay_over(self, buffer: bytearray | memoryview, start: int) -> None:
        """Lay them over bytes that begin ``start`` bytes further on."""
        skipped = self.start + start
        if skipped % WORD == 0 and len(buffer) % WORD == 0:
            at, words = self.within(start, len(buffer))
            np.frombuffer(buffer, _VALUE)[at] = words
            return
        at, words = self._read()
        places = (at[:, np.newaxis] * WORD + np.arange(WORD) - skipped).reshape(-1)
        inside = (places >= 0) & (places < len(buffer))
        np.frombuffer(buffer, np.uint8)[places[inside]] = words.view(np.uint8)[inside]

    def within(self, start: int, length: int) -> tuple[NDArray[np.int64], NDArray[np.uint64]]:
        """Those that lie over ``length`` bytes from ``start`` on, which are whole words.

        Their numbers in these, ascending (int64), and their bytes as little-endian (uint64).
        """
        at, words = self._read()
        first = (self.start + start) // WORD
        if first or int(at[-1]) >= length // WORD:
            at = at - first
            inside = (at >= 0) & (at < length // WORD)
            at, words = at[inside], words[inside]
        return at, words

    def packed(self) -> bytes:
        """All of them: their numbers, 4 bytes each, then themselves; little-endian."""
        return self.spool.read(self.position, self.words * _PACKED)

    def _read(self) -> tuple[NDArray[np.int64], NDArray[np.uint64]]:
        packed = self.packed()
        at = np.frombuffer(packed, _INDEX, self.words)
        return at.astype(np.int64), np.frombuffer(packed, _VALUE, -1, at.nbytes)


@dataclass(frozen=True, slots=True)
class Blob:
    """``length`` bytes put aside at ``position`` of a spool; zeros without a spool.

    ``patches`` lie over them, one over the other.
    """

    spool: Spool | None
    position: int
    length: int
    patches: tuple[Patch, ...] = ()

    @classmethod
    def zeros(cls, length: int) -> "Blob":
        """So many zero bytes."""
        return cls(None, 0, length)

    @property
    def is_zeros(self) -> bool:
        """Whether it takes no room: all its bytes are zeros."""
        return self.spool is None and not self.patches

    def read(self, start: int = 0, length: int | None = None) -> bytes:
        """The bytes from ``start`` on, all of them or ``length``."""
        length = self.length - start if length is None else min(length, self.length - start)
        if self.spool is None:
            data = bytes(length)
        else:
            data = self.spool.read(self.position + start, length)
        if not self.patches:
            return data
        buffer = bytearray(data)
        for patch in self.patches:
            patch.lay_over(buffer, start)
        return bytes(buffer)

    def read_into(self, start: int, buffer: memoryview) -> None:
        """Fill a buffer with the bytes from ``start`` on, of which there must be as many."""
        if self.spool is None:
            buffer[:] = bytes(len(buffer))
        else:
            self.spool.read_into(self.position + start, buffer)
        for patch in self.patches:
            patch.lay_over(buffer, start)

    def words_over(self, other: "Blob") -> tuple[NDArray[np.int64], NDArray[np.uint64]] | None:
        """The words by which it differs from another, if it was put aside as what became of that.

        Their numbers, ascending (int64), and their bytes as little-endian (uint64); else None.
        """
        patch = self._patch_over(other)
        return None if patch is None else patch.within(0, self.length)

    def packed_over(self, other: "Blob") -> tuple[int, bytes] | None:
        """As `words_over`: how many words, and their numbers and themselves as `Patch.packed`."""
        patch = self._patch_over(other)
        if patch is None:
            return None
        packed = patch.packed()
        last = _INDEX.itemsize * patch.words
        reaches = int.from_bytes(packed[last - _INDEX.itemsize : last], "little")
        if not patch.start and reaches < self.length // WORD:
            return patch.words, packed
        at, words = patch.within(0, self.length)
        return len(at), at.astype(_INDEX).tobytes() + words.tobytes()

    def _patch_over(self, other: "Blob") -> Patch | None:
        """What lies over another blob, in whole words, and makes this one of it."""
        same = self.spool is other.spool and self.position == other.position
        if not same or not self.patches or self.patches[:-1] != other.patches:
            return None
        patch = self.patches[-1]
        whole = patch.start % WORD == 0 and self.length % WORD == 0
        return patch if whole and self.length == other.length else None

    def read_over(self, other: "Blob", data: bytes) -> bytes | bytearray:
        """All bytes, given those of another blob: quicker where little of them differs."""
        words = self.words_over(other)
        if words is None:
            return self.read()
        buffer = bytearray(data)
        np.frombuffer(buffer, _VALUE)[words[0]] = words[1]
        return buffer

    def cut(self, start: int, length: int) -> "Blob":
        """A part of these bytes."""
        if start == 0 and length == self.length:
            return self
        patches = tuple(
            Patch(patch.spool, patch.position, patch.words, patch.start + start)
            for patch in self.patches
        )
        return Blob(self.spool, self.position + start, length, patches)


def any_bits(data: bytes | bytearray | memoryview) -> bool:
    """Whether any byte is not zero."""
    # Comparing with zeros of the same length runs at the speed of memory.
    return bytes(data) != bytes(len(data))


def differing_words(one: bytes, other: bytes) -> NDArray[np.int64]:
    """Which words of two stretches of whole words differ, by their numbers, ascending: int64."""
    return np.flatnonzero(np.frombuffer(one, _VALUE) != np.frombuffer(other, _VALUE))


def _is_worth_it(base: Blob, at: NDArray[np.int64]) -> bool:
    """Whether words of a blob are better kept by themselves than all of its bytes."""
    if not _SHORTEST_PATCHED <= base.length <= _LONGEST_PATCHED:
        return False
    few = len(at) <= base.length // WORD * _MOST_DIFFERING
    return few and len(base.patches) < _MOST_PATCHES


def _write(file: BinaryIO, data: bytes | bytearray | memoryview, at: int) -> None:
    """Write all of some bytes at an offset. Raises OSError."""
    left = memoryview(data)
    while left:
        wrote = os.pwrite(file.fileno(), left, at)
        at += wrote
        left = left[wrote:]
