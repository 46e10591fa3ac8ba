"""The refcounts that the image stores, read through its refcount table (format section 4).

Reads as QEMU looks refcounts up: reserved bits of a table entry are masked away, a missing
block means zeros, an unaligned or unreachable block cannot be read.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qcow2_dump.checks.bitset import BitSet
from qcow2_dump.image.image import Image
from qcow2_dump.ondisk import arrays
from qcow2_dump.ondisk.constants import MAX_READABLE_OFFSET, MAX_REFCOUNT_TABLE_BYTES
from qcow2_dump.ondisk.mapping import REFCOUNT_TABLE_OFFSET_MASK

__all__ = ["StoredChunk", "StoredRefcounts"]

# Refcounts unpacked at a time: large enough for numpy, small enough for the cache.
_CHUNK = 1 << 18

_OFFSET_MASK = np.uint64(REFCOUNT_TABLE_OFFSET_MASK)


@dataclass(frozen=True, slots=True)
class StoredChunk:
    """The stored refcounts of the clusters ``first`` to ``end``, not included.

    ``values`` is an unsigned array of ``end - first`` refcounts, or None where all are zero
    because there is no block, or where ``readable`` is False.
    """

    first: int
    end: int
    values: NDArray[np.unsignedinteger] | None
    readable: bool = True


class StoredRefcounts:
    """The refcount table, and look-ups through it.

    ``entries`` holds the table as stored (uint64), empty when the header's pointer to it is
    unusable.
    """

    def __init__(self, image: Image) -> None:
        self._source = image.source
        self._geometry = image.geometry
        self.entries = _read_table(image)
        self.offsets: NDArray[np.uint64] = self.entries & _OFFSET_MASK
        cluster_mask = np.uint64(image.geometry.cluster_size - 1)
        self.unreadable: NDArray[np.bool_] = ((self.offsets & cluster_mask) != 0) | (
            self.offsets > np.uint64(MAX_READABLE_OFFSET - image.geometry.cluster_size)
        )
        self._any_unreadable = bool(self.unreadable.any())
        self._ones: BitSet = BitSet(0)

    def note_ones(self, clusters: int) -> Iterator[int]:
        """Read the blocks of the first ``clusters`` clusters; note whose refcount is exactly 1.

        Yields the bytes read so far.
        """
        self._ones = BitSet(clusters)
        done = 0
        for chunk in self.chunks(clusters):
            if chunk.values is not None:
                self._ones.store(chunk.first, chunk.values == 1)
                done += len(chunk.values) * self._geometry.refcount_bits // 8
                yield done

    def chunks(self, clusters: int) -> Iterator[StoredChunk]:
        """The stored refcounts of the first ``clusters`` clusters, in order and in pieces."""
        for index in range(-(-clusters // self._geometry.refcounts_per_block)):
            yield from self.block_chunks(index, clusters)

    def block_chunks(self, index: int, clusters: int) -> Iterator[StoredChunk]:
        """What `chunks` gives for the block at ``index`` of the refcount table."""
        per_block = self._geometry.refcounts_per_block
        first = index * per_block
        end = min(first + per_block, clusters)
        if index >= len(self.entries) or self.offsets[index] == 0:
            yield StoredChunk(first, end, None)
        elif self.unreadable[index]:
            yield StoredChunk(first, end, None, readable=False)
        else:
            yield from self._read_chunks(int(self.offsets[index]), first, end)

    def is_one(self, clusters: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Which of some host clusters (int64) have a stored refcount of exactly 1: bool[n].

        Clusters past those that were noted are looked up in their blocks.
        """
        if not len(clusters) or int(clusters.max()) < self._ones.size:
            return self._ones.contains(clusters)
        far = clusters >= self._ones.size
        ones = np.zeros(len(clusters), dtype=np.bool_)
        ones[~far] = self._ones.contains(clusters[~far])
        ones[far] = self.values_of(clusters[far]) == 1
        return ones

    def is_readable(self, clusters: NDArray[np.int64]) -> NDArray[np.bool_] | None:
        """Which of some host clusters have a refcount that can be read; None means all."""
        if not self._any_unreadable:
            return None
        blocks = clusters // self._geometry.refcounts_per_block
        readable = np.ones(len(clusters), dtype=np.bool_)
        inside = blocks < len(self.entries)
        readable[inside] = ~self.unreadable[blocks[inside]]
        return readable

    def values_of(self, clusters: NDArray[np.int64]) -> NDArray[np.uint64]:
        """The stored refcounts of some host clusters: uint64[n], 0 where unreadable."""
        per_block = self._geometry.refcounts_per_block
        values = np.zeros(len(clusters), dtype=np.uint64)
        blocks = clusters // per_block
        for index in arrays.distinct(blocks[blocks < len(self.entries)]).tolist():
            offset = int(self.offsets[index])
            if offset == 0 or self.unreadable[index]:
                continue
            chosen = np.flatnonzero(blocks == index)
            block = self._unpack(offset, self._geometry.cluster_size)
            values[chosen] = block[clusters[chosen] % per_block]
        return values

    def _read_chunks(self, offset: int, first: int, end: int) -> Iterator[StoredChunk]:
        bits = self._geometry.refcount_bits
        step = min(_CHUNK, self._geometry.refcounts_per_block)
        for start in range(first, end, step):
            at = offset + (start - first) * bits // 8
            stop = min(start + step, end)
            values = self._unpack(at, step * bits // 8)[: stop - start]
            yield StoredChunk(start, stop, values)

    def _unpack(self, offset: int, length: int) -> NDArray[np.unsignedinteger]:
        data = self._source.read(offset, length)
        return arrays.unpack_refcounts(data, self._geometry.refcount_order)


def _read_table(image: Image) -> NDArray[np.uint64]:
    header = image.header
    length = header.refcount_table_clusters * image.geometry.cluster_size
    offset = header.refcount_table_offset
    if (
        length > MAX_REFCOUNT_TABLE_BYTES
        or not image.geometry.is_aligned(offset)
        or offset + length > MAX_READABLE_OFFSET
    ):
        length = 0
    return arrays.decode_u64(image.source.read(offset, length))
