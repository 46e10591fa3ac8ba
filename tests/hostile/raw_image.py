"""A qcow2 file written field by field: nothing is derived, so that nothing need make sense.

`tests.builder` writes images that hang together; these do not.
"""

import errno
import os
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import pytest
from numpy.typing import NDArray

HEADER_PLACES = {
    "magic": (0, 4),
    "version": (4, 4),
    "backing_file_offset": (8, 8),
    "backing_file_size": (16, 4),
    "cluster_bits": (20, 4),
    "size": (24, 8),
    "crypt_method": (32, 4),
    "l1_size": (36, 4),
    "l1_table_offset": (40, 8),
    "refcount_table_offset": (48, 8),
    "refcount_table_clusters": (56, 4),
    "nb_snapshots": (60, 4),
    "snapshots_offset": (64, 8),
    "incompatible_features": (72, 8),
    "compatible_features": (80, 8),
    "autoclear_features": (88, 8),
    "refcount_order": (96, 4),
    "header_length": (100, 4),
    "compression_type": (104, 1),
}
"""Byte offset and width of the header's fields."""

COPIED = 1 << 63
COMPRESSED = 1 << 62

MOST_L1_ENTRIES = 4_194_304
MOST_SNAPSHOTS = 65_536
MOST_BITMAPS = 65_535

BITMAPS_EXTENSION = 0x23852875
CRYPTO_EXTENSION = 0x0537BE77
DATA_FILE_EXTENSION = 0x44415441
FEATURE_NAMES_EXTENSION = 0x6803F857

_DEFAULTS = {
    "magic": 0x514649FB,
    "version": 3,
    "cluster_bits": 16,
    "size": 64 << 20,
    "refcount_order": 4,
    "header_length": 112,
}


class RawImage:
    """A file under construction, of a given length in bytes.

    Fields that are not given are 0, or those of a plain version 3 image.
    """

    def __init__(self, path: Path, length: int, **fields: int) -> None:
        self.path = path
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC)
        try:
            os.ftruncate(self._fd, length)
        except OSError as error:
            if error.errno != errno.EFBIG:
                raise
            pytest.skip(f"NOT TESTED: this file system has no files of {length} bytes")
        for name, value in (_DEFAULTS | fields).items():
            offset, width = HEADER_PLACES[name]
            self.write(offset, value.to_bytes(width, "big"))

    def write(self, offset: int, data: bytes) -> None:
        """Store bytes at an offset."""
        view = memoryview(data)
        while view:
            done = os.pwrite(self._fd, view, offset)
            offset, view = offset + done, view[done:]

    def table(self, offset: int, entries: Sequence[int] | NDArray[Any]) -> None:
        """Store 64-bit entries at an offset."""
        values = np.array(entries, dtype=np.uint64)
        self.write(offset, values.astype(">u8").tobytes())

    def extensions(self, *extensions: tuple[int, bytes]) -> None:
        """Store header extensions (type, data) behind the header, and the end marker."""
        packed = b"".join(
            struct.pack(">II", kind, len(data)) + data + bytes(-len(data) % 8)
            for kind, data in extensions
        )
        self.write(112, packed + bytes(8))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._fd)


def refcounted_image(path: Path, length: int, **fields: int) -> RawImage:
    """An image with a refcount table in cluster 1, a block in cluster 2, and an L1 in cluster 3.

    The block holds refcounts of 1 for its first clusters; the L1 table is empty.
    """
    size = 1 << fields.get("cluster_bits", 16)
    places = {"refcount_table_offset": size, "refcount_table_clusters": 1}
    places |= {"l1_table_offset": 3 * size, "l1_size": 1}
    image = RawImage(path, length, **(places | fields))
    image.table(size, [2 * size])
    image.write(2 * size, b"\0\1" * min(256, size // 2))
    return image


def snapshot_record(
    l1_table_offset: int,
    l1_size: int,
    id: bytes = b"1",  # noqa: A002 - the field's name in the format
    name: bytes = b"",
    extra_size: int = 16,
) -> bytes:
    """A snapshot record with 16 bytes of extra data, padded; ``extra_size`` may lie about it."""
    lengths = (len(id), len(name))
    fixed = struct.pack(">QIHHIIQII", l1_table_offset, l1_size, *lengths, 0, 0, 0, 0, extra_size)
    record = fixed + bytes(16) + id + name
    return record + bytes(-len(record) % 8)


def bitmap_record(table_offset: int, table_size: int, name: bytes, flags: int = 0) -> bytes:
    """A bitmap directory entry, padded."""
    record = struct.pack(">QIIBBHI", table_offset, table_size, flags, 1, 16, len(name), 0) + name
    return record + bytes(-len(record) % 8)
