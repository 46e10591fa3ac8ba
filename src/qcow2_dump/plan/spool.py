"""Where the bytes of a plan wait: in memory while there are few, then in a temporary file."""

import tempfile
from dataclasses import dataclass

__all__ = ["Blob", "Spool"]

# A repair of a sound size stays in memory; one of terabytes goes to the disk for temporary files.
_IN_MEMORY = 32 << 20


class Spool:
    """Bytes put aside, to be read again in any order."""

    def __init__(self) -> None:
        self._file = tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY)  # noqa: SIM115 - closed below
        self._length = 0

    def put(self, data: bytes | bytearray | memoryview) -> "Blob":
        """Put some bytes aside; those that are all zeros take no room.

        Raises OSError when a temporary file is needed and has no room.
        """
        length = len(data)
        if not any_bits(data):
            return Blob(None, 0, length)
        self._file.seek(self._length)
        self._file.write(data)
        blob = Blob(self, self._length, length)
        self._length += length
        return blob

    def read(self, position: int, length: int) -> bytes:
        """Bytes put aside earlier, by their position among all of them."""
        self._file.seek(position)
        return self._file.read(length)

    def close(self) -> None:
        """Give up all that was put aside."""
        self._file.close()

    def __del__(self) -> None:
        # A plan that was given up half way lets go of its bytes without anybody minding them.
        self._file.close()


@dataclass(frozen=True, slots=True)
class Blob:
    """``length`` bytes put aside at ``position`` of a spool; zeros without a spool."""

    spool: Spool | None
    position: int
    length: int

    @classmethod
    def zeros(cls, length: int) -> "Blob":
        """So many zero bytes."""
        return cls(None, 0, length)

    def read(self, start: int = 0, length: int | None = None) -> bytes:
        """The bytes from ``start`` on, all of them or ``length``."""
        length = self.length - start if length is None else min(length, self.length - start)
        if self.spool is None:
            return bytes(length)
        return self.spool.read(self.position + start, length)

    def cut(self, start: int, length: int) -> "Blob":
        """A part of these bytes."""
        return Blob(self.spool, self.position + start, length)


def any_bits(data: bytes | bytearray | memoryview) -> bool:
    """Whether any byte is not zero."""
    # Comparing with zeros of the same length runs at the speed of memory.
    return bytes(data) != bytes(len(data))
