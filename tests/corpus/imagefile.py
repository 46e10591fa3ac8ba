"""Reading and overwriting single fields of an image under construction."""

from __future__ import annotations

import os
import struct
from pathlib import Path
from types import TracebackType


class ImageFile:
    """An image opened for patching; integers are big-endian, offsets are bytes.

    Reads beyond the end deliver zeros, as QEMU sees them. Writes beyond it grow the file.
    """

    def __init__(self, path: Path, *, writable: bool = True) -> None:
        self._file = path.open("r+b" if writable else "rb", buffering=0)

    def __enter__(self) -> ImageFile:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._file.close()

    @property
    def length(self) -> int:
        """Bytes in the file."""
        return os.fstat(self._file.fileno()).st_size

    def read(self, offset: int, length: int) -> bytes:
        """Return exactly `length` bytes from `offset` on, zeros past the end."""
        return os.pread(self._file.fileno(), length, offset).ljust(length, b"\0")

    def write(self, offset: int, data: bytes) -> None:
        """Store `data` at `offset`."""
        os.pwrite(self._file.fileno(), data, offset)

    def truncate(self, length: int) -> None:
        """Cut the file, or grow it with zeros, to `length` bytes."""
        os.ftruncate(self._file.fileno(), length)

    def get(self, offset: int, width: int = 8) -> int:
        """Return the unsigned integer of `width` bytes at `offset`."""
        return int.from_bytes(self.read(offset, width), "big")

    def put(self, offset: int, value: int, width: int = 8) -> None:
        """Store `value` as an unsigned integer of `width` bytes at `offset`."""
        self.write(offset, value.to_bytes(width, "big"))

    def words(self, offset: int, count: int) -> tuple[int, ...]:
        """Return `count` 64-bit integers from `offset` on."""
        return struct.unpack(f">{count}Q", self.read(offset, 8 * count))
