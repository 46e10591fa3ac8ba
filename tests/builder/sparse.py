"""A byte array of any length that stores only the pages written to."""

import os
from collections.abc import Iterator
from functools import cache
from pathlib import Path

PAGE = 4096
DENSE_LIMIT = 512 << 20


@cache
def _uniform_page(byte: int) -> bytes:
    return bytes([byte]) * PAGE


class SparseBytes:
    """Bytes addressed from 0; unwritten places and all behind the end read as zero."""

    def __init__(self, length: int = 0) -> None:
        """Start with ``length`` bytes, all zero."""
        self._length = length
        # A page is immutable while it may be shared (fills), and a bytearray once it is edited.
        self._pages: dict[int, bytes | bytearray] = {}

    def __len__(self) -> int:
        """Return the length in bytes (images beyond 2^63 - 1 bytes do not exist)."""
        return self._length

    def read(self, offset: int, length: int) -> bytes:
        """Return exactly ``length`` bytes from byte ``offset``."""
        out = bytearray(length)
        for page, start, stop, at in _pieces(offset, length):
            stored = self._pages.get(page)
            if stored is not None:
                out[at : at + stop - start] = stored[start:stop]
        return bytes(out)

    def write(self, offset: int, data: bytes) -> None:
        """Store ``data`` at byte ``offset``, growing the length when needed."""
        for page, start, stop, at in _pieces(offset, len(data)):
            self._editable(page)[start:stop] = data[at : at + stop - start]
        self._length = max(self._length, offset + len(data))

    def fill(self, offset: int, length: int, byte: int) -> None:
        """Store ``byte`` ``length`` times from byte ``offset``; whole pages share one object."""
        for page, start, stop, _ in _pieces(offset, length):
            if stop - start == PAGE:
                self._pages[page] = _uniform_page(byte)
            else:
                self._editable(page)[start:stop] = bytes([byte]) * (stop - start)
        self._length = max(self._length, offset + length)

    def truncate(self, length: int) -> None:
        """Make the length ``length`` bytes; what is cut off is forgotten, what is added is zero."""
        first_gone, within = divmod(length, PAGE)
        if length < self._length:
            if within and first_gone in self._pages:
                self._editable(first_gone)[within:] = bytes(PAGE - within)
                first_gone += 1
            for page in [page for page in self._pages if page >= first_gone]:
                del self._pages[page]
        self._length = length

    def copy(self) -> "SparseBytes":
        """Return an independent copy."""
        twin = SparseBytes(self._length)
        twin._pages = {
            page: bytearray(stored) if isinstance(stored, bytearray) else stored
            for page, stored in self._pages.items()
        }
        return twin

    def to_bytes(self) -> bytes:
        """Return all bytes; ValueError above 512 MiB, where ``write_to`` is the way."""
        if self._length > DENSE_LIMIT:
            raise ValueError(f"{self._length} bytes are too many to hold densely")
        return self.read(0, self._length)

    def extents(self) -> Iterator[tuple[int, int]]:
        """Yield (offset, length) in bytes of each stored page, in order, within the length."""
        for page in sorted(self._pages):
            yield page * PAGE, min(PAGE, self._length - page * PAGE)

    def stored_bytes(self) -> int:
        """Return how many bytes of pages are held, a measure of how sparse this is."""
        return len(self._pages) * PAGE

    def write_to(self, path: Path) -> None:
        """Write a sparse file: stored pages, holes elsewhere, exactly ``len(self)`` bytes."""
        with path.open("wb") as file:
            for page in sorted(self._pages):
                at = page * PAGE
                os.pwrite(file.fileno(), self._pages[page][: self._length - at], at)
            file.truncate(self._length)

    def _editable(self, page: int) -> bytearray:
        stored = self._pages.get(page)
        if not isinstance(stored, bytearray):
            stored = bytearray(PAGE) if stored is None else bytearray(stored)
            self._pages[page] = stored
        return stored


def _pieces(offset: int, length: int) -> Iterator[tuple[int, int, int, int]]:
    """Cut a byte range at page borders: (page, start in page, stop in page, start in range)."""
    at = 0
    while at < length:
        page, start = divmod(offset + at, PAGE)
        stop = min(PAGE, start + length - at)
        yield page, start, stop, at
        at += stop - start
