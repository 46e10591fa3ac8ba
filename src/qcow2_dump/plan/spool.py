"""Where the bytes of a plan wait: in memory while there are few, then in a temporary file.

Most changes are of a few words of large tables. Of these only the words are put aside: what lies
around them stays where it is, in the image, and a checksum tells whether it is still the same.
"""

import errno
import os
import tempfile
import zlib
from typing import BinaryIO, NamedTuple

import numpy as np

from qcow2_dump.errors import SourceError
from qcow2_dump.plan.patches import NUMBER, VALUE, WORD, Patch, Swap, WordChanges

__all__ = ["LONGEST_IN_PLACE", "Blob", "Spool", "any_bits"]

LONGEST_IN_PLACE = 2 << 20
"""Bytes of which a few words may change, at most: they are looked at as a whole."""

# A repair of a sound size stays in memory; one of terabytes goes to the disk for temporary files.
_IN_MEMORY = 2 << 20

# Where more of the words differ, all bytes are kept: they are written sooner than put together.
_MOST_DIFFERING = 1 / 4
# Words of less are not worth the trouble.
_SHORTEST_IN_PLACE = 4 << 10


class Spool:
    """Bytes put aside, to be read again in any order."""

    def __init__(self) -> None:
        self._held = bytearray()
        self._file: BinaryIO | None = None
        # Bytes in the file; what came after them is held in memory.
        self._written = 0

    def put(self, data: bytes | bytearray | memoryview) -> "Blob":
        """Put some bytes aside; those that are all zeros take no room.

        Raises SourceError when a temporary file is needed and has no room.
        """
        if not any_bits(data):
            return Blob(None, 0, len(data))
        return Blob(self, self._append(data), len(data))

    def put_change(
        self, old: bytes, new: bytes | bytearray, words: WordChanges | None = None
    ) -> tuple["Blob", "Blob"]:
        """Put aside what some bytes are and what they become: a few words, or all of them.

        ``words`` are those that differ, where they are known; others may be among them, which are
        told as they are. Raises as `put`.
        """
        if len(old) % WORD == 0 and _SHORTEST_IN_PLACE <= len(old) <= LONGEST_IN_PLACE:
            words = WordChanges.between(old, new) if words is None else words
            if 0 < len(words.at) <= len(old) // WORD * _MOST_DIFFERING:
                return self.put_words(len(old), words, (zlib.crc32(old), zlib.crc32(new)))
        return self.put(old), self.put(new)

    def put_words(
        self, length: int, words: WordChanges, sums: tuple[int, int]
    ) -> tuple["Blob", "Blob"]:
        """Put aside what a few words of ``length`` bytes are and what they become, in place.

        There is one at least; ``sums`` are the CRC-32 of all bytes before and after. Raises as
        `put`.
        """
        swap = Swap(self, self._append(words.pack()), len(words.at))
        return (
            Blob(None, 0, length, (Patch(swap, is_new=False),), in_place=True, checksum=sums[0]),
            Blob(None, 0, length, (Patch(swap, is_new=True),), in_place=True, checksum=sums[1]),
        )

    def read(self, position: int, length: int) -> bytes:
        """Bytes put aside earlier, by their position among all of them."""
        if self._file is None or position >= self._written:
            start = position - self._written
            return bytes(memoryview(self._held)[start : start + length])
        # A regular file gives all that was written to it.
        return os.pread(self._file.fileno(), length, position)

    def read_into(self, position: int, buffer: memoryview) -> None:
        """Fill a buffer with bytes put aside earlier."""
        if self._file is None or position >= self._written:
            buffer[:] = self.read(position, len(buffer))
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
        position = self._written + len(self._held)
        self._held += data
        if len(self._held) > _IN_MEMORY:
            # What was put aside in one is never divided.
            self._write_held()
        return position

    def _write_held(self) -> None:
        """Move what is held in memory to the file. Raises SourceError that names its folder."""
        try:
            if self._file is None:
                self._file = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115 - closed above
            _write(self._file, self._held, self._written)
        except OSError as error:
            reason = f"a temporary file cannot be written there: {error.strerror or error}"
            raise SourceError(error.errno or errno.EIO, reason, tempfile.gettempdir()) from error
        self._written += len(self._held)
        self._held = bytearray()


class Blob(NamedTuple):
    """``length`` bytes put aside at ``position`` of a spool; zeros without a spool.

    ``patches`` lie over them, one over the other. Of bytes ``in_place`` there are only patches:
    whatever else lies in their place belongs to them, and ``checksum`` is the CRC-32 of all of it
    where that is known.
    """

    spool: Spool | None
    position: int
    length: int
    patches: tuple[Patch, ...] = ()
    in_place: bool = False
    checksum: int | None = None

    @classmethod
    def zeros(cls, length: int) -> "Blob":
        """So many zero bytes."""
        return cls(None, 0, length)

    @property
    def is_zeros(self) -> bool:
        """Whether it takes no room: all its bytes are zeros."""
        return self.spool is None and not self.patches and not self.in_place

    def packed_words(self) -> tuple[int, bytes]:
        """Of bytes in place, of which nothing was cut off: how many words, and these packed.

        As `WordChanges.unpack` takes them, its own ones last.
        """
        (patch,) = self.patches
        words, packed = patch.swap.words, patch.swap.packed()
        if not patch.is_new:
            numbers, old = words * NUMBER.itemsize, words * VALUE.itemsize
            packed = packed[:numbers] + packed[numbers + old :] + packed[numbers : numbers + old]
        return words, packed

    def read(self, start: int = 0, length: int | None = None) -> bytes:
        """The bytes from ``start`` on, all of them or ``length``.

        Raises ValueError for bytes in place, which only `over` can tell.
        """
        if self.in_place:
            raise ValueError("only some of these bytes were put aside")
        length = self.length - start if length is None else min(length, self.length - start)
        if self.spool is not None and not self.patches:
            return self.spool.read(self.position + start, length)
        buffer = bytearray(length)
        self.lay_over(start, memoryview(buffer))
        return bytes(buffer)

    def over(self, held: bytes | bytearray, start: int = 0) -> bytes | bytearray:
        """The bytes from ``start`` on, as many as lie in their place now (``held``)."""
        if not self.in_place:
            return self.read(start, len(held))
        buffer = bytearray(held)
        self.lay_over(start, memoryview(buffer))
        return buffer

    def lay_over(self, start: int, buffer: memoryview) -> None:
        """Have the bytes from ``start`` on in a buffer, which holds what lies in their place.

        There must be as many.
        """
        if not self.in_place:
            if self.spool is None:
                buffer[:] = bytes(len(buffer))
            else:
                self.spool.read_into(self.position + start, buffer)
        for patch in self.patches:
            patch.lay_over(buffer, start)

    def is_held(self, held: bytes) -> bool:
        """Whether what lies in the place of all bytes is just these."""
        if self.checksum is not None:
            return zlib.crc32(held) == self.checksum
        return self.over(held) == held

    def swap_into(self, held: bytearray) -> bool:
        """Change the words of what lies in the place of bytes in place, if they are what they were.

        Nothing was cut off of these bytes. Returns whether it was done.
        """
        (patch,) = self.patches
        at, was, will = patch.words()
        words = np.frombuffer(held, VALUE)
        if (words.take(at) != was).any():
            return False
        words[at] = will
        return True

    def cut(self, start: int, length: int) -> "Blob":
        """A part of these bytes."""
        if start == 0 and length == self.length:
            return self
        patches = tuple(patch._replace(start=patch.start + start) for patch in self.patches)
        return Blob(self.spool, self.position + start, length, patches, self.in_place)

    def under(self, other: "Blob") -> "Blob":
        """What becomes of it when as many bytes in place are laid over it."""
        return self._replace(patches=(*self.patches, *other.patches), checksum=None)


def any_bits(data: bytes | bytearray | memoryview) -> bool:
    """Whether any byte is not zero."""
    # Comparing with zeros of the same length runs at the speed of memory.
    return bytes(data) != bytes(len(data))


def _write(file: BinaryIO, data: bytes | bytearray | memoryview, at: int) -> None:
    """Write all of some bytes at an offset. Raises OSError."""
    left = memoryview(data)
    while left:
        wrote = os.pwrite(file.fileno(), left, at)
        at += wrote
        left = left[wrote:]
