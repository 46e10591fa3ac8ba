"""What a source of bytes offers.

A source is a finite run of bytes with a name. Reading past its end gives zeros, which is how
QEMU reads a disk image that ends early; what lies past the end is for the reader to judge.
"""

import errno
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import Self

from qcow2_dump.errors import SourceError

__all__ = ["ByteSource", "WriteableBuffer"]

WriteableBuffer = bytearray | memoryview


class ByteSource(ABC):
    """Bytes at offsets. ``size`` in bytes; ``name`` for messages."""

    name: str
    size: int

    @abstractmethod
    def read_at(self, offset: int, buffer: memoryview) -> int:
        """Fill ``buffer`` from ``offset`` bytes on; return the bytes read, short only at the end.

        Raises SourceError when the system cannot read there.
        """

    @abstractmethod
    def data_ranges(self, start: int, end: int) -> Iterator[tuple[int, int]]:
        """Ranges ``(start, end)`` in bytes, in order, outside of which there are only zeros.

        Holes of a sparse file are left out; a source that cannot tell gives one range.
        """

    def allocated(self) -> int | None:
        """Bytes that the system has set aside for the source; None where that is not known."""
        return None

    def is_being_written(self) -> bool:
        """Whether somebody else has it open for writing; False where that is not known."""
        return False

    def has_changed(self) -> bool:
        """Whether somebody else has written to it since it was opened; False where not known."""
        return False

    def again(self) -> "ByteSource":
        """The same bytes once more, with the size that they have now, to be closed by itself.

        Raises SourceError (ENOTSUP) where that cannot be had.
        """
        raise SourceError(errno.ENOTSUP, "cannot be opened a second time", self.name)

    def close(self) -> None:  # noqa: B027 - most sources hold nothing
        """Let go of what the source holds; reading afterwards is an error."""

    def read(self, offset: int, length: int) -> bytes:
        """``length`` bytes from ``offset`` on, zeros past the end of the source."""
        buffer = bytearray(length)
        self.read_into(offset, memoryview(buffer))
        return bytes(buffer)

    def read_into(self, offset: int, buffer: memoryview) -> None:
        """Fill the whole of ``buffer`` from ``offset`` bytes on, with zeros past the end."""
        wanted = max(0, min(len(buffer), self.size - offset))
        got = self.read_at(offset, buffer[:wanted]) if wanted else 0
        if got < len(buffer):
            buffer[got:] = bytes(len(buffer) - got)

    def read_rows(self, offsets: Sequence[int], rows: memoryview) -> None:
        """Fill equal parts of ``rows`` from one offset each.

        What follows each other in the source as well is read at once.
        """
        if not offsets:
            return
        length = len(rows) // len(offsets)
        first = 0
        for at in range(1, len(offsets) + 1):
            if at == len(offsets) or offsets[at] != offsets[at - 1] + length:
                self.read_into(offsets[first], rows[first * length : at * length])
                first = at

    def will_need(self, offsets: Sequence[int], length: int) -> None:  # noqa: B027 - only a hint
        """Say that ``length`` bytes from each offset on are read soon, for slow storage."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
