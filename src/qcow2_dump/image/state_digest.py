"""A digest of the metadata by which an image that was used since a change is told (repair rules 5).

QEMU cannot use an image without changing its header, a refcount or a table that is covered: the
header cluster, the refcount table, all refcount blocks, the L1 tables and the snapshot table.
"""

import hashlib
from collections.abc import Callable, Iterable, Iterator

import numpy as np

from qcow2_dump.errors import Qcow2Error, SourceError
from qcow2_dump.image.image import Image
from qcow2_dump.ondisk import arrays
from qcow2_dump.ondisk.constants import MAX_L1_ENTRIES, MAX_REFCOUNT_TABLE_BYTES
from qcow2_dump.storage.base import ByteSource

__all__ = ["source_digest", "state_digest"]

Range = tuple[int, int]
_Update = Callable[[bytes], None]

# Read and hashed together. Holes and zeros count alike, so that copying the file changes nothing.
_PIECE = 1 << 16
_TABLE_PIECE = 1 << 20


def state_digest(image: Image) -> str:
    """SHA-256 in hexadecimal over the metadata that any use of an image changes.

    Pointers that make no sense are left out, and what cannot be read counts as such: damage costs
    only itself. However often it is pointed to, nothing is read twice.
    """
    digest = hashlib.sha256(image.header_cluster)
    for start, end in _merged(_ranges(image), image.source.size):
        digest.update(b"%d-%d" % (start, end))
        _take(digest.update, image.source, start, end)
    return digest.hexdigest()


def source_digest(source: ByteSource) -> str:
    """As `state_digest`, of a source that may be no image (any more): then of its first 2 MiB.

    Raises nothing for damage.
    """
    try:
        return state_digest(Image(source, any_feature=True))
    except Qcow2Error:
        digest = hashlib.sha256(b"no image")
        _take(digest.update, source, 0, min(source.size, 2 << 20))
        return digest.hexdigest()


def _ranges(image: Image) -> Iterator[Range]:
    """Where the covered structures lie, in any order; some may overlap."""
    header = image.header
    yield 0, header.cluster_size
    table = header.refcount_table_offset
    length = min(header.refcount_table_clusters * header.cluster_size, MAX_REFCOUNT_TABLE_BYTES)
    yield table, table + length
    yield from _blocks(image, table, length)
    yield _l1(header.l1_table_offset, header.l1_size)
    if not header.nb_snapshots:
        return
    try:
        snapshots = image.snapshot_table
    except SourceError:
        return
    yield snapshots.offset, snapshots.offset + snapshots.length
    for entry in snapshots.entries:
        record = entry.record
        yield _l1(record.l1_table_offset, record.l1_size)


def _l1(offset: int, size: int) -> Range:
    return offset, offset + 8 * min(size, MAX_L1_ENTRIES)


def _blocks(image: Image, table: int, length: int) -> Iterator[Range]:
    """The refcount blocks that lie in the file."""
    size, cluster = image.source.size, image.header.cluster_size
    end = min(table + length, size)
    for start in range(table, end, _TABLE_PIECE):
        try:
            raw = image.source.read(start, min(_TABLE_PIECE, end - start) // 8 * 8)
        except SourceError:
            continue
        offsets = arrays.refcount_table_offsets(arrays.decode_u64(raw))
        inside = offsets[(offsets != np.uint64(0)) & (offsets < np.uint64(size))]
        for offset in arrays.distinct(inside.astype(np.int64)).tolist():
            yield offset, offset + cluster


def _merged(ranges: Iterable[Range], size: int) -> Iterator[Range]:
    """The parts of some ranges that lie in the file, without overlaps, ascending."""
    here: Range | None = None
    for start, end in sorted((r[0], min(r[1], size)) for r in ranges if r[0] < size):
        if here is not None and start <= here[1]:
            here = (here[0], max(here[1], end))
            continue
        if here is not None:
            yield here
        here = (start, end)
    if here is not None:
        yield here


def _take(update: _Update, source: ByteSource, start: int, end: int) -> None:
    """Hash what is not zero of a range, piece by piece, with where it lies."""
    at = start
    for low, high in source.data_ranges(start, end):
        # Pieces are counted from the start of the range, wherever the holes begin.
        first = max(at, start + (low - start) // _PIECE * _PIECE)
        for piece in range(first, high, _PIECE):
            at = piece + _PIECE
            try:
                data = source.read(piece, min(_PIECE, end - piece))
            except SourceError:
                update(b"%d unreadable" % piece)
                continue
            if data != bytes(len(data)):
                update(b"%d:" % piece)
                update(data)
