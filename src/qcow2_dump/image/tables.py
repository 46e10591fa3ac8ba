"""The small tables that the header points to, read leniently (format sections 5 and 6).

A pointer that makes no sense gives an empty table; what is wrong with it is judged elsewhere.
"""

from typing import NamedTuple

from qcow2_dump.errors import FormatError, SourceError
from qcow2_dump.ondisk.bitmaps import BitmapDirectoryEntry, unpack_bitmap_entry
from qcow2_dump.ondisk.constants import (
    MAX_BITMAP_DIRECTORY_BYTES,
    MAX_BITMAPS,
    MAX_READABLE_OFFSET,
    MAX_SNAPSHOT_TABLE_BYTES,
    MAX_SNAPSHOTS,
    SECTOR_SIZE,
)
from qcow2_dump.ondisk.extensions import BitmapsExtension
from qcow2_dump.ondisk.header import Header
from qcow2_dump.ondisk.snapshots import SnapshotRecord, unpack_snapshot
from qcow2_dump.storage.base import ByteSource

__all__ = [
    "BitmapDirectory",
    "BitmapItem",
    "SnapshotEntry",
    "SnapshotTable",
    "read_bitmap_directory",
    "read_snapshot_table",
]

# The longest record that QEMU writes: fixed part, extra data, ID and name.
_LONGEST_RECORD = 40 + 1024 + 2 * 65_535 + 8


class SnapshotEntry(NamedTuple):
    """A snapshot record, its position in the table and its file offset in bytes."""

    position: int
    offset: int
    record: SnapshotRecord


class SnapshotTable(NamedTuple):
    """The records that could be read.

    ``length`` is what the table occupies in bytes: up to the end of the last record, without
    that one's padding. ``dropped`` counts the records that the header promises but that lie
    behind a limit of the format or were lost with the chain.
    """

    offset: int
    length: int
    entries: tuple[SnapshotEntry, ...]
    dropped: int = 0


class BitmapItem(NamedTuple):
    """A bitmap directory entry, its position and its file offset in bytes."""

    position: int
    offset: int
    entry: BitmapDirectoryEntry


class BitmapDirectory(NamedTuple):
    """The entries that could be read; ``problem`` says in a line why there are not more."""

    extension: BitmapsExtension
    entries: tuple[BitmapItem, ...]
    problem: str | None = None


def read_snapshot_table(
    source: ByteSource, header: Header, count: int | None = None
) -> SnapshotTable:
    """The snapshot table, at most ``count`` records (default: as many as the header says).

    Raises SourceError when a record cannot be read.
    """
    offset = header.snapshots_offset
    wanted = header.nb_snapshots if count is None else count
    usable = header.geometry.is_aligned(offset) and offset < MAX_READABLE_OFFSET
    if not wanted or not usable:
        return SnapshotTable(offset, 0, (), wanted)
    limit = min(wanted, MAX_SNAPSHOTS)
    # Past the end of the file there are only zeros: the shortest records, 40 bytes each.
    inside = max(0, source.size - offset) + 40 * limit
    longest = min(MAX_SNAPSHOT_TABLE_BYTES, limit * _LONGEST_RECORD, inside)
    buffer, failure = _read_far(source, offset, longest)
    entries: list[SnapshotEntry] = []
    position = length = 0
    while len(entries) < limit:
        record, following = unpack_snapshot(buffer, position)
        end = position + record.length
        if end > MAX_SNAPSHOT_TABLE_BYTES:
            break
        if failure is not None and end > len(buffer):
            raise failure
        entries.append(SnapshotEntry(len(entries), offset + position, record))
        length, position = end, following
    else:
        if failure is not None and len(entries) < limit:
            raise failure
    return SnapshotTable(offset, length, tuple(entries), wanted - len(entries))


def _read_far(source: ByteSource, offset: int, length: int) -> tuple[bytes, SourceError | None]:
    """As much of a range as can be read, and what ended it.

    The records of a table take up far less than they could, so that most of the range is none of
    its business, and damage there must not hide the table.
    """
    try:
        return source.read(offset, length), None
    except SourceError as error:
        failure = error
    found = bytearray()
    while len(found) < length:
        try:
            found += source.read(offset + len(found), min(SECTOR_SIZE, length - len(found)))
        except SourceError:
            break
    return bytes(found), failure


def read_bitmap_directory(source: ByteSource, extension: BitmapsExtension) -> BitmapDirectory:
    """The bitmap directory, as far as its entries can be told apart."""
    size, offset = extension.directory_size, extension.directory_offset
    if size > MAX_BITMAP_DIRECTORY_BYTES or offset > MAX_READABLE_OFFSET - size:
        return BitmapDirectory(extension, (), "the directory is too large or too far away")
    inside = min(size, max(0, source.size - offset))
    buffer = source.read(offset, inside)
    entries: list[BitmapItem] = []
    position = 0
    wanted = min(extension.nb_bitmaps, MAX_BITMAPS)
    while len(entries) < wanted:
        try:
            entry, following = unpack_bitmap_entry(buffer, position)
        except FormatError as error:
            return BitmapDirectory(extension, tuple(entries), str(error))
        entries.append(BitmapItem(len(entries), offset + position, entry))
        position = following
    problem = None
    if position != size:
        problem = f"{len(entries)} entries take {position} bytes, the directory has {size}"
    return BitmapDirectory(extension, tuple(entries), problem)
