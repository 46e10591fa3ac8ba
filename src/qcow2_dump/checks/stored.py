"""The refcounts that the image stores, read through its refcount table (format section 4).

Reads as QEMU looks refcounts up: reserved bits of a table entry are masked away, a missing
block means zeros, an unaligned or unreachable block cannot be read.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from qcow2_dump.checks.bitset import BitSet
from qcow2_dump.checks.tables.holes import holds_data
from qcow2_dump.image.image import Image
from qcow2_dump.ondisk import arrays
from qcow2_dump.ondisk.constants import MAX_READABLE_OFFSET, MAX_REFCOUNT_TABLE_BYTES
from qcow2_dump.ondisk.mapping import REFCOUNT_TABLE_OFFSET_MASK

__all__ = ["StoredChunk", "StoredRefcounts"]

# Refcounts unpacked at a time: large enough for numpy, small enough for the cache.
_CHUNK = 1 << 17

# Bytes of blocks that the system is told of before they are read.
_READ_AHEAD = 4 << 20

_OFFSET_MASK = np.uint64(REFCOUNT_TABLE_OFFSET_MASK)

_NO_BLOCKS = np.zeros(0, dtype=np.int64)


class StoredChunk(NamedTuple):
    """The stored refcounts of the clusters ``first`` to ``end``, not included.

    ``values`` is an unsigned array of ``end - first`` refcounts, or None where all are zero.
    ``missing`` are the blocks of this stretch that do not exist, ``unreadable`` those that cannot
    be read, by their indices in the refcount table (int64); their refcounts are given as 0.
    """

    first: int
    end: int
    values: NDArray[np.unsignedinteger] | None
    missing: NDArray[np.int64] = _NO_BLOCKS
    unreadable: NDArray[np.int64] = _NO_BLOCKS


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
        # Which blocks hold more than the ones tell, of the clusters that were noted.
        self._varied: NDArray[np.bool_] = np.zeros(0, dtype=np.bool_)
        self._noted = 0

    def note_ones(self, clusters: int) -> Iterator[int]:
        """Read the blocks of the first ``clusters`` clusters; note whose refcount is exactly 1.

        Yields the bytes read so far.
        """
        per_block = self._geometry.refcounts_per_block
        self._ones, self._noted = BitSet(clusters), 0
        self._varied = np.ones(-(-clusters // per_block), dtype=np.bool_)
        done = 0
        for chunk in self.chunks(clusters):
            if chunk.values is not None:
                self._ones.store(chunk.first, chunk.values == 1)
                varied = bool(chunk.values.max() > 1 or len(chunk.missing) or len(chunk.unreadable))
                first, within = divmod(chunk.first, per_block)
                # Of a block in several pieces, each has its say.
                varied |= within != 0 and bool(self._varied[first])
                self._varied[first : -(-chunk.end // per_block)] = varied
                done += len(chunk.values) * self._geometry.refcount_bits // 8
                yield done
        self._noted = clusters

    def chunks(self, clusters: int, first: int = 0) -> Iterator[StoredChunk]:
        """The stored refcounts of the first ``clusters`` clusters, in order and in pieces.

        Those before ``first``, a multiple of 8, are left out. A piece is a part of a block, or
        several blocks where these are small. Blocks are not read again where `note_ones` found
        nothing but zeros and ones.
        """
        if first >= clusters:
            return
        per_block = self._geometry.refcounts_per_block
        together = _CHUNK // per_block
        blocks = -(-clusters // per_block)
        told = 0
        for index in range(first // per_block, blocks, max(1, together)):
            start, end = index * per_block, (index + max(1, together)) * per_block
            start, end = max(start, first), min(end, clusters)
            if end <= self._noted and not self._varied[index : index + max(1, together)].any():
                yield from self._noted_chunks(start, end)
                continue
            if index >= told:
                told = index + max(together, _READ_AHEAD // self._geometry.cluster_size, 1)
                self._will_need(index, min(told, blocks))
            if together > 1:
                yield self._read_together(index, min(index + together, blocks), first, clusters)
            else:
                yield from self.block_chunks(index, clusters, first)

    def _noted_chunks(self, first: int, end: int) -> Iterator[StoredChunk]:
        """Refcounts that are zeros and ones, as they were noted."""
        for start in range(first, end, _CHUNK):
            stop = min(start + _CHUNK, end)
            yield StoredChunk(start, stop, self._ones.flags(start, stop).view(np.uint8))

    def _will_need(self, index: int, behind: int) -> None:
        """Say that some blocks are read soon."""
        offsets = self.offsets[index:behind]
        inside = (offsets != 0) & (offsets < np.uint64(self._source.size))
        self._source.will_need(offsets[inside].view(np.int64).tolist(), self._geometry.cluster_size)

    def block_chunks(self, index: int, clusters: int, first: int = 0) -> Iterator[StoredChunk]:
        """What `chunks` gives for the block at ``index`` of the refcount table alone."""
        per_block = self._geometry.refcounts_per_block
        begin = index * per_block
        first, end = max(begin, first), min(begin + per_block, clusters)
        itself = np.array([index], dtype=np.int64)
        if index >= len(self.entries) or self.offsets[index] == 0:
            yield StoredChunk(first, end, None, missing=itself)
        elif self.unreadable[index]:
            yield StoredChunk(first, end, None, unreadable=itself)
        else:
            offset = int(self.offsets[index])
            within = (first - begin) * self._geometry.refcount_bits // 8
            yield from self._read_chunks(offset + within, first, end)

    def _read_together(self, index: int, behind: int, first: int, clusters: int) -> StoredChunk:
        """The refcounts of several blocks; a block that occurs twice is read once."""
        per_block = self._geometry.refcounts_per_block
        begin = index * per_block
        first, end = max(begin, first), min(behind * per_block, clusters)
        offsets = np.zeros(behind - index, dtype=np.int64)
        unreadable = np.zeros(behind - index, dtype=np.bool_)
        known = self.offsets[index:behind].view(np.int64)
        offsets[: len(known)] = known
        unreadable[: len(known)] = self.unreadable[index:behind]
        present = np.flatnonzero((offsets != 0) & ~unreadable)
        values: NDArray[np.unsignedinteger] | None = None
        if len(present):
            blocks, which = self._read_blocks(offsets[present])
            if len(present) < len(offsets):
                values = np.zeros((len(offsets), per_block), dtype=blocks.dtype)
                values[present] = blocks[which]
            else:
                values = blocks if len(blocks) == len(which) else blocks[which]
            values = values.reshape(-1)[first - begin : end - begin]
        missing = np.flatnonzero((offsets == 0) & ~unreadable) + index
        return StoredChunk(first, end, values, missing, np.flatnonzero(unreadable) + index)

    def _read_blocks(
        self, offsets: NDArray[np.int64]
    ) -> tuple[NDArray[np.unsignedinteger], NDArray[np.int64]]:
        """The distinct blocks at some offsets, and which of them is at each offset.

        In the order of the offsets where all of these are different.
        """
        distinct, which = np.unique(offsets, return_inverse=True)
        if len(distinct) == len(offsets):
            distinct, which = offsets, np.arange(len(offsets))
        size = self._geometry.cluster_size
        buffer = memoryview(bytearray(len(distinct) * size))
        self._source.read_rows(distinct.tolist(), buffer)
        values = arrays.unpack_refcounts(buffer, self._geometry.refcount_order)
        return values.reshape(len(distinct), -1), which

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

    def count_ones(self, first: NDArray[np.int64], end: NDArray[np.int64]) -> NDArray[np.int64]:
        """How many refcounts of each range of clusters that were noted are exactly 1: int64.

        From ``first`` to ``end``, not included (int64).
        """
        return self._ones.count_between(first, end)

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
        chosen = np.flatnonzero(blocks < len(self.entries))
        blocks = blocks[chosen]
        offsets = self.offsets[blocks].view(np.int64)
        usable = (offsets != 0) & ~self.unreadable[blocks]
        chosen, offsets = chosen[usable], offsets[usable]
        order = np.argsort(offsets, kind="stable")
        chosen, offsets = chosen[order], offsets[order]
        distinct, heads = np.unique(offsets, return_index=True)
        ends = np.append(heads[1:], len(offsets))
        # What a hostile image calls blocks may be holes, by the thousand.
        for at in np.flatnonzero(holds_data(self._source, distinct, self._geometry.cluster_size)):
            same = chosen[heads[at] : ends[at]]
            values[same] = self._look_up(int(distinct[at]), clusters[same] % per_block)
        return values

    def _look_up(self, offset: int, within: NDArray[np.int64]) -> NDArray[np.unsignedinteger]:
        """Some refcounts of the block at an offset, of which no more is read than it takes."""
        bits = self._geometry.refcount_bits
        first = int(within.min()) & ~7
        end = (int(within.max()) | 7) + 1
        block = self._unpack(offset + first * bits // 8, (end - first) * bits // 8)
        return block[within - first]

    def _read_chunks(self, offset: int, first: int, end: int) -> Iterator[StoredChunk]:
        bits = self._geometry.refcount_bits
        step = min(_CHUNK, self._geometry.refcounts_per_block)
        for start in range(first, end, step):
            at = offset + (start - first) * bits // 8
            stop = min(start + step, end)
            values = self._unpack(at, -(-(stop - start) * bits // 8))[: stop - start]
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
