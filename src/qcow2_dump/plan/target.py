"""What a plan is applied to."""

from collections.abc import Iterator
from typing import Protocol

__all__ = ["Readable", "Target"]


class Readable(Protocol):
    """What `ByteSource` offers, as far as plans use it."""

    name: str
    size: int

    def read(self, offset: int, length: int) -> bytes:
        """Bytes at an offset, zeros past the end."""

    def read_into(self, offset: int, buffer: memoryview) -> None:
        """Fill a buffer from an offset on, with zeros past the end."""

    def data_ranges(self, start: int, end: int) -> Iterator[tuple[int, int]]:
        """Ranges in bytes outside of which there are only zeros."""

    def allocated(self) -> int | None:
        """Bytes set aside by the system."""

    def is_being_written(self) -> bool:
        """Whether somebody else has it open for writing."""


class Target(Readable, Protocol):
    """A source that can also be written, as `storage.writable.WritableFile` can.

    Each method raises SourceError when the system says no. ``can_grow`` is whether its length can
    be changed.
    """

    can_grow: bool

    def write_at(self, offset: int, data: bytes | bytearray | memoryview) -> None:
        """Write all of the bytes."""

    def resize(self, size: int) -> None:
        """Change the length, in bytes; new bytes are zeros.

        When that fails, ``size`` is the length that the file then has.
        """

    def sync(self) -> None:
        """Return when all that was written has reached the disk."""
