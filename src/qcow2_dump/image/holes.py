"""Holes in the file of an image that lists far more clusters than the file system holds.

QEMU 7.2 trusts the mapping, and asks the file system for holes only where preallocated metadata
makes the mapping meaningless: when the refcounts show clearly more clusters in use than the file
takes up. Ranges in such holes are data by the mapping, and known to read as zeros.
"""

from array import array
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from qcow2_dump.errors import SourceError
from qcow2_dump.image.extents import NO_HOST, ExtentBatch
from qcow2_dump.image.image import Image
from qcow2_dump.ondisk import arrays
from qcow2_dump.ondisk.constants import (
    MAX_READABLE_OFFSET,
    MAX_REFCOUNT_TABLE_BYTES,
    SECTOR_SIZE,
)
from qcow2_dump.ondisk.mapping import ClusterType
from qcow2_dump.storage.base import ByteSource

__all__ = ["HoleMap", "holes_of", "looks_preallocated"]

_MOST_RANGES = 1 << 21
"""Ranges of a file that are told apart; what lies behind them counts as data. 32 MiB."""


class HoleMap:
    """Which parts of a source hold data, as its file system says."""

    def __init__(self, source: ByteSource) -> None:
        bounds = array("q")
        for start, end in source.data_ranges(0, source.size):
            if bounds and bounds[-1] == start:
                bounds[-1] = end
            elif len(bounds) == 2 * _MOST_RANGES:
                bounds[-1] = source.size
                break
            else:
                bounds.extend((start, end))
        self._bounds: NDArray[np.int64] = np.frombuffer(bounds, dtype=np.int64).copy()

    def mark(self, batch: ExtentBatch) -> ExtentBatch:
        """The batch with its data cut where the source changes between data and hole."""
        normal = (batch.type == ClusterType.NORMAL) & (batch.host != NO_HOST)
        if not normal.any():
            return batch
        low = np.searchsorted(self._bounds, batch.host, side="right")
        high = np.searchsorted(self._bounds, batch.host + batch.length, side="left")
        pieces = np.where(normal, np.maximum(high - low, 0) + 1, 1)
        row = np.repeat(np.arange(len(batch)), pieces)
        within = np.arange(len(row)) - np.repeat(np.cumsum(pieces) - pieces, pieces)
        start = batch.start[row]
        later = within > 0
        cut = self._bounds[(low[row] + within - 1)[later]]
        start[later] += cut - batch.host[row][later]
        end = np.append(start[1:], batch.end)
        marked = batch.take(row).recut(start, end)
        # An even number of bounds passed: before the first data, or behind the end of some.
        hole = (low[row] + within) % 2 == 0
        return replace(marked, zero=marked.zero | (normal[row] & hole))


def holes_of(image: Image, data: ByteSource | None) -> HoleMap | None:
    """The holes to mark in an image's map; None when the mapping is to be trusted.

    ``data`` holds the guest data, None when that is in a file that was not opened. Nobody looks
    behind encryption, where a hole does not read as zeros.
    """
    if data is None or image.header.crypt_method or not looks_preallocated(image):
        return None
    return HoleMap(data)


def looks_preallocated(image: Image) -> bool:
    """Whether clearly more clusters are in use than the file takes up; False if unknown."""
    allocated = image.source.allocated()
    if allocated is None:
        return False
    real = allocated // image.geometry.cluster_size
    enough = max(real * 10 // 9, real + 2)
    try:
        return _used_clusters(image, enough) >= enough
    except SourceError:
        return False


def _used_clusters(image: Image, enough: int) -> int:
    """Clusters of the file with a refcount, counted up to ``enough``; 0 where one is unreadable."""
    geometry, header = image.geometry, image.header
    length = header.refcount_table_clusters * geometry.cluster_size
    offset = header.refcount_table_offset
    if length > MAX_REFCOUNT_TABLE_BYTES or offset + length > MAX_READABLE_OFFSET:
        return 0
    table = arrays.decode_u64(image.source.read(offset, length))
    blocks = arrays.refcount_table_offsets(table).tolist()
    left = geometry.clusters(-(-image.source.size // SECTOR_SIZE) * SECTOR_SIZE)
    used = 0
    for block in blocks:
        if used >= enough or left <= 0:
            break
        if not geometry.is_aligned(block) or block > MAX_READABLE_OFFSET:
            return 0
        if block:
            stored = image.source.read(block, geometry.cluster_size)
            counts = arrays.unpack_refcounts(stored, geometry.refcount_order)[:left]
            used += int(np.count_nonzero(counts))
        left -= geometry.refcounts_per_block
    return used
