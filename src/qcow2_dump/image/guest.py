"""What the guest ranges of one tree are mapped to, in guest order and in bounded memory.

A walk over a tree of the image alone: what lies below it is for `image.layers`. Tables are
decoded many entries at a time, and neighbours that are mapped alike become one extent.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from qcow2_dump.errors import SourceError
from qcow2_dump.image.extents import ExtentBatch
from qcow2_dump.image.guest_tree import TreeRoot, disk_end, l1_entries_inside
from qcow2_dump.image.image import Image
from qcow2_dump.image.l2_runs import L2Decoder
from qcow2_dump.image.plain_clusters import PlainClusters
from qcow2_dump.image.problems import MappingProblem
from qcow2_dump.ondisk import arrays
from qcow2_dump.ondisk.constants import MAX_FILE_OFFSET
from qcow2_dump.ondisk.mapping import ClusterType

__all__ = ["tree_extents", "tree_pieces"]

# L2 entries decoded at a time, and L1 entries held at a time: 1 MiB each.
_BATCH_ENTRIES = 1 << 17
_L1_ENTRIES = 1 << 17


def tree_extents(
    image: Image, root: TreeRoot, start: int = 0, end: int | None = None
) -> Iterator[ExtentBatch]:
    """The extents of a guest range (bytes; default: the whole disk), all of depth 0.

    The batches follow each other without gaps. What is not allocated is not called zero, as
    something may lie below. Tables that cannot be read give extents with a problem.
    """
    for piece in tree_pieces(image, root, start, end):
        yield piece if isinstance(piece, ExtentBatch) else piece.extents()


def tree_pieces(
    image: Image,
    root: TreeRoot,
    start: int = 0,
    end: int | None = None,
    *,
    by_clusters: bool = False,
) -> Iterator[ExtentBatch | PlainClusters]:
    """The same as `tree_extents`, but plain data that is scattered comes as clusters.

    With ``by_clusters`` all plain data does.
    """
    stop = disk_end(root) if end is None else min(end, disk_end(root))
    if start >= stop:
        return
    if not root.usable:
        yield ExtentBatch.one(start, stop, ClusterType.NORMAL, MappingProblem.L1_UNREADABLE)
        return
    walk = _Walk(image, root, by_clusters=by_clusters)
    geometry = image.geometry
    for piece in walk.clusters(start >> geometry.cluster_bits, geometry.clusters(stop)):
        if isinstance(piece, PlainClusters) and start <= piece.start and piece.end <= stop:
            yield piece
            continue
        batch = piece if isinstance(piece, ExtentBatch) else piece.extents()
        clipped = batch.clip(start, stop)
        if len(clipped):
            yield clipped


class _Walk:
    """Walks guest clusters, a range of one table or several whole tables at a time."""

    def __init__(self, image: Image, root: TreeRoot, *, by_clusters: bool) -> None:
        self._by_clusters = by_clusters
        self._image = image
        self._geometry = image.geometry
        self._root = root
        self._decoder = L2Decoder(image)
        self._rows_at_once = max(1, _BATCH_ENTRIES // self._geometry.l2_entries)
        # Made once: fresh ones cost more than the reading.
        entries = min(_BATCH_ENTRIES, self._rows_at_once * self._geometry.l2_entries)
        self._bytes = bytearray(entries * self._geometry.l2_entry_size)
        self._words = np.zeros(len(self._bytes) // 8, dtype=np.uint64)

    def clusters(self, first: int, end: int) -> Iterator[ExtentBatch | PlainClusters]:
        """What is made of the guest clusters ``first`` to ``end``, not included."""
        per_table = self._geometry.l2_entries
        inside = l1_entries_inside(self._root, self._image.source.size)
        mapped = min(end, inside * per_table)
        at = first
        while at < mapped:
            index = at // per_table
            count = min(_L1_ENTRIES, -(-mapped // per_table) - index)
            stop = min(mapped, (index + count) * per_table)
            try:
                raw = self._image.source.read(self._root.l1_offset + 8 * index, 8 * count)
            except SourceError:
                yield self._gap(at, stop, ClusterType.NORMAL, MappingProblem.L1_UNREADABLE)
            else:
                offsets = arrays.l1_offsets(arrays.decode_u64(raw))
                yield from self._below(index, offsets.view(np.int64), at, stop)
            at = stop
        missing = min(end, self._root.l1_size * per_table)
        if at < missing:
            yield self._gap(at, missing, ClusterType.UNALLOCATED, MappingProblem.L1_BEYOND_END)
            at = missing
        if at < end:
            # QEMU takes what the L1 table does not reach for unallocated.
            yield self._gap(at, end, ClusterType.UNALLOCATED)

    def _below(
        self, base: int, offsets: NDArray[np.int64], first: int, end: int
    ) -> Iterator[ExtentBatch | PlainClusters]:
        """Clusters below some L1 entries, the first of which has the index ``base``."""
        per_table = self._geometry.l2_entries
        used = iter((np.flatnonzero(offsets) + base).tolist())
        following = next(used, None)
        at = first
        while at < end:
            row, column = divmod(at, per_table)
            while following is not None and following < row:
                following = next(used, None)
            if following is None or following - row >= self._rows_at_once:
                stop = end if following is None else min(end, following * per_table)
                yield self._gap(at, stop, ClusterType.UNALLOCATED)
            elif column or end - at < per_table or per_table > _BATCH_ENTRIES:
                stop = min(end, at + _BATCH_ENTRIES, (row + 1) * per_table)
                yield from self._tables(offsets[row - base : row - base + 1], at, stop)
            else:
                rows = min((end - at) // per_table, self._rows_at_once)
                stop = at + rows * per_table
                yield from self._tables(offsets[row - base : row - base + rows], at, stop)
            at = stop

    def _gap(
        self, first: int, end: int, kind: ClusterType, problem: MappingProblem = MappingProblem.NONE
    ) -> ExtentBatch:
        bits = self._geometry.cluster_bits
        return ExtentBatch.one(first << bits, min(end << bits, MAX_FILE_OFFSET), kind, problem)

    def _tables(
        self, offsets: NDArray[np.int64], first: int, end: int
    ) -> Iterator[ExtentBatch | PlainClusters]:
        """Clusters of whole tables, or of a part of one."""
        width = self._geometry.l2_entry_size
        row_bytes = (end - first) // len(offsets) * width
        buffer = memoryview(self._bytes)[: row_bytes * len(offsets)]
        skipped = first % self._geometry.l2_entries * width
        problems = self._problems(offsets)
        readable = (offsets != 0) & (problems == 0)
        if not readable.all():
            np.frombuffer(buffer, dtype=np.uint8)[:] = 0
        for row in np.flatnonzero(readable).tolist():
            part = buffer[row * row_bytes : (row + 1) * row_bytes]
            try:
                self._image.source.read_into(int(offsets[row]) + skipped, part)
            except SourceError:
                part[:] = bytes(row_bytes)
                problems[row] = MappingProblem.L2_UNREADABLE
        words = arrays.decode_u64(buffer, out=self._words[: len(buffer) // 8])
        bitmaps = words[1::2] if width == 16 else None
        entries = words[:: width // 8]
        return self._decoder.pieces(
            first, entries, bitmaps, problems, by_clusters=self._by_clusters
        )

    def _problems(self, offsets: NDArray[np.int64]) -> NDArray[np.uint8]:
        """What is wrong with where tables lie; past the end of the file they read as zeros."""
        problems = np.zeros(len(offsets), dtype=np.uint8)
        problems[offsets >= self._image.source.size] = MappingProblem.L2_BEYOND_END
        crooked = offsets & (self._geometry.cluster_size - 1) != 0
        problems[crooked] = MappingProblem.L2_UNALIGNED
        return problems
