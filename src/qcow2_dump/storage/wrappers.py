"""Sources around a source: to observe it, or to make it fail."""

import errno
from collections.abc import Iterator, Sequence

from qcow2_dump.errors import SourceError
from qcow2_dump.storage.base import ByteSource

__all__ = ["CountingSource", "FailingSource", "WrappedSource"]


class WrappedSource(ByteSource):
    """Passes everything on to another source."""

    def __init__(self, inner: ByteSource) -> None:
        self.inner = inner
        self.name = inner.name
        self.size = inner.size

    def read_at(self, offset: int, buffer: memoryview) -> int:
        """Read from the inner source."""
        return self.inner.read_at(offset, buffer)

    def will_need(self, offsets: Sequence[int], length: int) -> None:
        """Tell the inner source."""
        self.inner.will_need(offsets, length)

    def data_ranges(self, start: int, end: int) -> Iterator[tuple[int, int]]:
        """Ask the inner source."""
        return self.inner.data_ranges(start, end)

    def allocated(self) -> int | None:
        """Ask the inner source."""
        return self.inner.allocated()

    def is_being_written(self) -> bool:
        """Ask the inner source."""
        return self.inner.is_being_written()

    def has_changed(self) -> bool:
        """Ask the inner source."""
        return self.inner.has_changed()

    def again(self) -> ByteSource:
        """The inner source once more, without what is around it."""
        return self.inner.again()

    def close(self) -> None:
        """Close the inner source."""
        self.inner.close()


class CountingSource(WrappedSource):
    """Counts the reads and the bytes that they delivered."""

    def __init__(self, inner: ByteSource) -> None:
        super().__init__(inner)
        self.reads = 0
        self.bytes_read = 0

    def read_at(self, offset: int, buffer: memoryview) -> int:
        """Read and count."""
        got = super().read_at(offset, buffer)
        self.reads += 1
        self.bytes_read += got
        return got


class FailingSource(WrappedSource):
    """Fails with EIO on every read that touches one of some byte ranges ``(start, end)``."""

    def __init__(self, inner: ByteSource, *bad_ranges: tuple[int, int]) -> None:
        super().__init__(inner)
        self.bad_ranges = bad_ranges

    def read_at(self, offset: int, buffer: memoryview) -> int:
        """Read, unless a bad range is touched."""
        for start, end in self.bad_ranges:
            if offset < end and start < offset + len(buffer):
                reason = f"cannot read at offset {max(offset, start):#x}: Input/output error"
                raise SourceError(errno.EIO, reason, self.name)
        return super().read_at(offset, buffer)
