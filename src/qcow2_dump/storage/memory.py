"""A source held in memory: for tests, for images inside other files, for what-if views."""

from collections.abc import Iterator

from qcow2_dump.storage.base import ByteSource

__all__ = ["MemorySource"]


class MemorySource(ByteSource):
    """Bytes in memory; they are not copied, so a change to a bytearray shows."""

    def __init__(self, data: bytes | bytearray | memoryview, name: str = "<memory>") -> None:
        self.name = name
        self._data = memoryview(data).cast("B")
        self.size = len(self._data)

    def read_at(self, offset: int, buffer: memoryview) -> int:
        """Copy what there is from ``offset`` bytes on."""
        piece = self._data[offset : offset + len(buffer)]
        buffer[: len(piece)] = piece
        return len(piece)

    def again(self) -> ByteSource:
        """The same memory."""
        return MemorySource(self._data, self.name)

    def data_ranges(self, start: int, end: int) -> Iterator[tuple[int, int]]:
        """One range: memory has no holes."""
        end = min(end, self.size)
        if start < end:
            yield start, end
