"""Runs of L2 entries that are mapped alike (format sections 2.3, 2.4 and 3).

The vector twin of `image.lookup`: both say the same of every guest offset, which a test holds.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from qcow2_dump.image.extents import NO_HOST, ExtentBatch
from qcow2_dump.image.image import Image
from qcow2_dump.image.plain_clusters import PlainClusters
from qcow2_dump.image.problems import MappingProblem
from qcow2_dump.ondisk import arrays
from qcow2_dump.ondisk.constants import SECTOR_SIZE
from qcow2_dump.ondisk.mapping import (
    L2_OFFSET_MASK,
    SUBCLUSTER_ALLOCATED_MASK,
    SUBCLUSTER_ZERO_MASK,
    ClusterType,
    EntryFlag,
)

__all__ = ["L2Decoder"]

# Clusters whose subclusters are told apart at a time.
_EXPANDED = 1 << 11

# At least so many entries on average go on where the one before ends: then stretches of them are
# decoded at once. A few of them tell whether that is worth a try.
_WORTHWHILE_STRETCH = 8
_SAMPLE = 1 << 10

_NO_BITS = np.uint64(0)
_ALL_DATA = np.uint64(SUBCLUSTER_ALLOCATED_MASK)
_ALL_ZERO = np.uint64(SUBCLUSTER_ZERO_MASK)
_HALF = np.uint64(32)
# Of entries shifted by one, so that they have no COPIED flag.
_COMPRESSED_FLAG = np.uint64(int(EntryFlag.COMPRESSED) << 1)
_OFFSET = np.uint64(L2_OFFSET_MASK << 1)
# All that entries of plain data and of nothing have in them.
_PLAIN = np.uint64(L2_OFFSET_MASK | int(EntryFlag.COPIED))
_SHIFTS = np.arange(32, dtype=np.uint64)
_ONE = np.uint64(1)

_UNALLOCATED = np.uint8(ClusterType.UNALLOCATED)
_ZERO_PLAIN = np.uint8(ClusterType.ZERO_PLAIN)
_ZERO_ALLOC = np.uint8(ClusterType.ZERO_ALLOC)
_NORMAL = np.uint8(ClusterType.NORMAL)
_COMPRESSED = np.uint8(ClusterType.COMPRESSED)

_HIDDEN = np.array([problem.hides_mapping for problem in MappingProblem])

_U8 = NDArray[np.uint8]
_I64 = NDArray[np.int64]
_U64 = NDArray[np.uint64]


class L2Decoder:
    """Turns L2 entries into extents."""

    def __init__(self, image: Image) -> None:
        self._geometry = image.geometry
        self._version_2 = not image.header.is_v3
        self._data_file = image.header.has_data_file
        self._end = -(-image.source.size // SECTOR_SIZE) * SECTOR_SIZE

    def pieces(
        self,
        first: int,
        raw: _U64,
        bitmaps: _U64 | None,
        table_problems: _U8,
        *,
        by_clusters: bool,
    ) -> Iterator[ExtentBatch | PlainClusters]:
        """What the guest clusters from ``first`` on are mapped to, of depth 0.

        ``raw`` holds their entries, ``bitmaps`` their subclusters with extended L2; both are
        uint64 of one length. ``table_problems`` (uint8) is for as many equal parts of them, one
        for each table. Plain data comes as clusters where it is scattered, or anywhere if
        ``by_clusters``.
        """
        if bitmaps is None and not self._data_file and not table_problems.any():
            heads = None if by_clusters else self._regular(raw)
            if heads is not None:
                yield self._stretches(first, raw, heads)
                return
            plain = self._plain(first, raw)
            if plain is not None:
                yield plain
                return
        kind, host, problem = self._clusters(first, raw)
        if table_problems.any():
            per_cluster = np.repeat(table_problems, len(raw) // len(table_problems))
            problem = np.where(per_cluster != 0, per_cluster, problem)
            kind[_HIDDEN[per_cluster]] = _NORMAL
        size = self._geometry.cluster_size
        if bitmaps is None:
            yield _runs(first * size, size, kind, host, problem)
        else:
            yield from self._extended(first, kind, host, problem, bitmaps)

    def _regular(self, raw: _U64) -> _I64 | None:
        """Where the stretches begin of which each entry is one cluster behind the one before.

        None where it does not pay to decode these instead of every entry, or would be wrong.
        """
        if self._breaks(raw[:_SAMPLE]) is None:
            return None
        breaks = self._breaks(raw)
        if breaks is None:
            return None
        heads = np.concatenate((np.zeros(1, dtype=np.int64), breaks + 1))
        head, last = raw[heads] << _ONE, raw[np.append(breaks, len(raw) - 1)] << _ONE
        # Only the offset may differ within a stretch, and all of its entries must be of one type.
        if (((head ^ last) & ~_OFFSET) | last & _COMPRESSED_FLAG).any():
            return None
        if ((head != last) & ((head & _OFFSET) == 0)).any():
            return None
        return heads if int((last & _OFFSET).max()) >> 1 < self._end else None

    def _breaks(self, raw: _U64) -> _I64 | None:
        """The entries that the next one is not one cluster behind; None where there are many."""
        # Without the COPIED flag, which says nothing of where data lies.
        plain = raw << _ONE
        step = np.uint64(self._geometry.cluster_size << 1)
        breaks = np.flatnonzero(plain[1:] - plain[:-1] != step)
        return None if (len(breaks) + 1) * _WORTHWHILE_STRETCH > len(raw) else breaks

    def _plain(self, first: int, raw: _U64) -> PlainClusters | None:
        """The same as they are, if all are plain data or nothing, and none is wrong."""
        size = self._geometry.cluster_size
        set_somewhere = np.bitwise_or.reduce(raw)
        if set_somewhere & ~_PLAIN or int(set_somewhere) & (size - 1):
            return None
        host = arrays.l2_offsets(raw).view(np.int64)
        if int(host.max()) >= self._end:
            return None
        return PlainClusters.make(first * size, size, host)

    def _stretches(self, first: int, raw: _U64, heads: _I64) -> ExtentBatch:
        """The extents of stretches that begin at some positions of the entries."""
        kind, host, problem = self._clusters(first, raw[heads])
        size = self._geometry.cluster_size
        length = np.diff(heads, append=len(raw)) * size
        joined = _heads(length[:-1], kind, host, problem)
        return ExtentBatch.make(
            (first + heads[joined]) * size,
            np.add.reduceat(length, joined),
            host[joined],
            kind[joined],
            problem[joined],
        )

    def _clusters(self, first: int, raw: _U64) -> tuple[_U8, _I64, _U8]:
        """Type, host offset and problem of whole clusters."""
        kind = arrays.cluster_types(
            raw, extended_l2=self._geometry.extended_l2, data_file=self._data_file
        )
        placed = (kind == _NORMAL) | (kind == _ZERO_ALLOC)
        host = arrays.l2_offsets(raw).view(np.int64)
        host *= placed
        problem = np.zeros(len(raw), dtype=np.uint8)
        if self._data_file:
            guest = np.arange(first, first + len(raw)) << self._geometry.cluster_bits
            problem[placed & (host != guest)] = MappingProblem.DATA_FILE_OFFSET
            problem[kind == _COMPRESSED] = MappingProblem.COMPRESSED_IN_DATA_FILE
        else:
            self._judge_places(raw, kind, host, problem)
        if self._version_2:
            problem[(kind == _ZERO_PLAIN) | (kind == _ZERO_ALLOC)] = MappingProblem.ZERO_IN_V2
        np.copyto(host, NO_HOST, where=~placed)
        return kind, host, problem

    def _judge_places(self, raw: _U64, kind: _U8, host: _I64, problem: _U8) -> None:
        """Mark what lies past the end of the file, and what is unaligned."""
        if int(host.max()) >= self._end:
            problem[host >= self._end] = MappingProblem.BEYOND_END
        within = self._geometry.cluster_size - 1
        if int(np.bitwise_or.reduce(host)) & within:
            problem[(host & within) != 0] = MappingProblem.UNALIGNED
        packed = np.flatnonzero(kind == _COMPRESSED)
        if len(packed):
            offsets, _ = arrays.compressed_extents(raw[packed], self._geometry.cluster_bits)
            problem[packed[offsets >= np.uint64(self._end)]] = MappingProblem.BEYOND_END

    def _extended(
        self, first: int, base: _U8, host: _I64, problem: _U8, bitmaps: _U64
    ) -> Iterator[ExtentBatch]:
        """Extents of subclusters, which most clusters need not be cut into."""
        normal = (base == _NORMAL) & (host != NO_HOST)
        nothing = base == _UNALLOCATED
        data, zero = bitmaps & _ALL_DATA, bitmaps & _ALL_ZERO
        wrong = normal & ((data & (zero >> _HALF)) != 0) | nothing & (data != 0)
        problem[wrong & (problem == 0)] = MappingProblem.SUBCLUSTERS
        kind = base.copy()
        kind[normal & (bitmaps == _NO_BITS)] = _UNALLOCATED
        kind[normal & (bitmaps == _ALL_ZERO)] = _ZERO_ALLOC
        kind[nothing & (zero == _ALL_ZERO)] = _ZERO_PLAIN
        mixed = (kind == _NORMAL) & normal & (bitmaps != _ALL_DATA)
        mixed |= (kind == _UNALLOCATED) & nothing & (zero != 0)
        size, unit = self._geometry.cluster_size, self._geometry.subcluster_size
        step = _EXPANDED if mixed.any() else len(base)
        for start in range(0, len(base), step):
            part = slice(start, start + step)
            offset = (first + start) * size
            if not mixed[part].any():
                yield _runs(offset, size, kind[part], host[part], problem[part])
                continue
            inner = _subclusters(base[part], normal[part], nothing[part], bitmaps[part])
            places = host[part, None] + unit * np.arange(32)
            places[host[part] == NO_HOST] = NO_HOST
            each = np.repeat(problem[part], 32)
            yield _runs(offset, unit, inner.reshape(-1), places.reshape(-1), each)


def _subclusters(
    base: _U8, normal: NDArray[np.bool_], nothing: NDArray[np.bool_], bitmaps: _U64
) -> _U8:
    """The type of each subcluster, uint8[clusters, 32]; data wins where the bits disagree."""
    data = (bitmaps[:, None] >> _SHIFTS) & _ONE != 0
    zero = (bitmaps[:, None] >> (_SHIFTS + _HALF)) & _ONE != 0
    kind = np.repeat(base[:, None], 32, axis=1)
    kind[normal] = np.where(zero[normal], _ZERO_ALLOC, _UNALLOCATED)
    kind[normal[:, None] & data] = _NORMAL
    kind[nothing[:, None] & zero] = _ZERO_PLAIN
    return kind


def _runs(offset: int, unit: int, kind: _U8, host: _I64, problem: _U8) -> ExtentBatch:
    """Join neighbours that are mapped alike; each entry stands for ``unit`` guest bytes."""
    heads = _heads(unit, kind, host, problem)
    length = np.diff(heads, append=len(kind)) * unit
    return ExtentBatch.make(offset + heads * unit, length, host[heads], kind[heads], problem[heads])


def _heads(step: int | _I64, kind: _U8, host: _I64, problem: _U8) -> _I64:
    """Which do not continue the one before, whose length in bytes is ``step``."""
    goes_on = host[:-1] + step
    np.copyto(goes_on, NO_HOST, where=host[:-1] == NO_HOST)
    head = np.ones(len(kind), dtype=np.bool_)
    np.not_equal(host[1:], goes_on, out=head[1:])
    head[1:] |= kind[1:] != kind[:-1]
    head[1:] |= problem[1:] != problem[:-1]
    return np.flatnonzero(head)
