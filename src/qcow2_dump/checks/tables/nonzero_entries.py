"""The entries of a stretch of tables that are not zero, read without the holes of the file."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from qcow2_dump.ondisk import arrays
from qcow2_dump.storage.base import ByteSource

__all__ = ["read_nonzero"]

_READ = 1 << 20


def read_nonzero(
    source: ByteSource, start: int, end: int
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.uint64]]]:
    """The 64-bit entries between two file offsets that are not zero, in pieces.

    Each piece is their file offsets (int64) and their values (uint64). Both bounds are multiples
    of 8. Raises SourceError when they cannot be read.
    """
    behind = start
    for data, hole in source.data_ranges(start, end):
        # A hole may start and end anywhere, also within an entry.
        first_entry, behind = max(data & ~7, behind), (hole + 7) & ~7
        for first in range(first_entry, behind, _READ):
            raw = arrays.decode_u64(source.read(first, min(_READ, behind - first)))
            used = np.flatnonzero(raw)
            if len(used):
                yield first + used * 8, raw[used]
