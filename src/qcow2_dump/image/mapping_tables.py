"""L1 and L2 tables as arrays, in guest order and in bounded memory; needs numpy."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from qcow2_dump.image.image import Image
from qcow2_dump.ondisk import arrays

__all__ = ["read_l1_entries", "read_l2_table"]

# Bytes of an L1 table held at a time.
_READ = 1 << 20


def read_l1_entries(
    image: Image, offset: int, entries: int
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.uint64]]]:
    """The entries of an L1 table that are not zero: their indices (int64) and raw values (uint64).

    ``offset`` in bytes, a multiple of 8. Holes of the file are skipped. Raises SourceError when
    the table cannot be read.
    """
    for data, end in image.source.data_ranges(offset, offset + 8 * entries):
        # A hole may start and end anywhere, entries are 8 bytes.
        for start in range(data & ~7, end, _READ):
            length = min(_READ, (end - start + 7) & ~7)
            raw = arrays.decode_u64(image.source.read(start, length))
            used = np.flatnonzero(raw)
            if len(used):
                yield used + ((start - offset) >> 3), raw[used]


def read_l2_table(
    image: Image, offset: int
) -> tuple[NDArray[np.uint64], NDArray[np.uint64] | None]:
    """The entries of the L2 table at a byte offset, and their subcluster bitmaps, if it has any.

    Both uint64, one for each entry. Raises SourceError when the table cannot be read.
    """
    geometry = image.geometry
    data = image.source.read(offset, geometry.cluster_size)
    raw, bitmaps = arrays.decode_l2(data, extended_l2=geometry.extended_l2)
    if bitmaps is None:
        return raw, None
    return np.ascontiguousarray(raw), np.ascontiguousarray(bitmaps)
