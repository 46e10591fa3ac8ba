"""Snapshot records whose extra data has not the length that they claim (format section 5.3).

Such a record hides its ID, its name and all records behind it. QEMU reads it as it stands; extra
data of over 1,024 bytes it refuses, and its repair cuts it. It has one of very few lengths, though,
and the right one leads to an ID, a name and the next record.
"""

from collections.abc import Iterator

from qcow2_dump.checks.trees import tree_label
from qcow2_dump.errors import UnsafePlanError
from qcow2_dump.image.image import Image
from qcow2_dump.ondisk.constants import (
    MAX_SNAPSHOT_EXTRA,
    MAX_SNAPSHOT_TABLE_BYTES,
    MAX_SNAPSHOTS,
    MIN_V3_SNAPSHOT_EXTRA,
)
from qcow2_dump.ondisk.snapshots import SnapshotRecord, unpack_snapshot
from qcow2_dump.planners.allocator import Allocator
from qcow2_dump.planners.checked import Checked
from qcow2_dump.planners.draft import Draft
from qcow2_dump.planners.snapshots.table import put_snapshot_table

__all__ = ["leading_records", "mend_extra_data_lengths"]

# Where a record keeps the length of its extra data, and the lengths that QEMU writes.
_LENGTH_AT, _LENGTH_END = 36, 40
_USUAL = (24, 16, 0)

# What a record that is read at the wrong place breaks; a strange name alone is no reason.
_SIGNS = (
    "snapshot.table",
    "snapshot.record",
    "snapshot.extra-data",
    "snapshot.l1-table",
    "snapshot.disk-size",
)

_LONGEST_RECORD = 1 << 18
_LONGEST_ID = 128


def mend_extra_data_lengths(draft: Draft, found: Checked, allocator: Allocator) -> list[str]:
    """Give records that make no sense the length of extra data with which all of them do.

    Returns sentences for people, if anything could be done: what was, or why not.
    """
    if not found.has(*_SIGNS):
        return []
    image = draft.drafted()
    table = image.snapshot_table
    if not table.dropped and all(_is_sensible(image, e.record) for e in table.entries):
        return []
    records = _read_again(image)
    if not records:
        return []
    what = "The length of the extra data in a snapshot record is wrong"
    try:
        packed = [record.pack() for record in records]
        misread = frozenset(tree_label(entry.record.id) for entry in table.entries)
        put_snapshot_table(draft, allocator, packed, {}, without=misread)
    except UnsafePlanError as error:
        return [f"{what}, and is left as it is: {error}."]
    return [f"{what}: with the usual one all {len(records):,} records can be read again."]


def leading_records(image: Image, most: int) -> tuple[int, int]:
    """How many records from the first on make sense, at most so many, and their bytes in all."""
    start = image.header.snapshots_offset
    inside = max(0, image.source.size - start)
    table = image.source.read(start, min(MAX_SNAPSHOT_TABLE_BYTES, inside))
    counted = at = 0
    while counted < most and at < len(table):
        record, following = unpack_snapshot(table, at)
        if not _is_sensible(image, record):
            break
        counted, at = counted + 1, following
    return counted, at


def _read_again(image: Image) -> list[SnapshotRecord] | None:
    """All records, some with another length; None where one makes no sense with any."""
    header = image.header
    longest = min(MAX_SNAPSHOT_TABLE_BYTES, header.nb_snapshots * _LONGEST_RECORD)
    inside = min(longest, max(0, image.source.size - header.snapshots_offset))
    if header.nb_snapshots > MAX_SNAPSHOTS:
        return None
    table = image.source.read(header.snapshots_offset, inside)
    records: list[SnapshotRecord] = []
    at = 0
    while len(records) < header.nb_snapshots:
        last = len(records) == header.nb_snapshots - 1
        ways = (way for way in _readings(image, table, at) if _is_sensible(image, way[0]))
        chosen = next((way for way in ways if last or _goes_on(image, table, way[1])), None)
        if chosen is None:
            return None
        records.append(chosen[0])
        at = chosen[1]
    return records


def _readings(image: Image, table: bytes, at: int) -> Iterator[tuple[SnapshotRecord, int]]:
    """The record at a place, read with each length that it may have, and where the next one is."""
    record, following = unpack_snapshot(table, at)
    stored = record.extra_data_size
    if stored <= MAX_SNAPSHOT_EXTRA:
        yield record, following
    for length in _USUAL:
        if length == stored or (length < MIN_V3_SNAPSHOT_EXTRA and image.header.is_v3):
            continue
        head = table[at : at + _LENGTH_AT] + length.to_bytes(_LENGTH_END - _LENGTH_AT, "big")
        window = head + table[at + _LENGTH_END : at + _LONGEST_RECORD]
        record, behind = unpack_snapshot(window, 0)
        yield record, at + behind


def _goes_on(image: Image, table: bytes, at: int) -> bool:
    """Whether there is another record at a place."""
    return any(_is_sensible(image, record) for record, _ in _readings(image, table, at))


def _is_sensible(image: Image, record: SnapshotRecord) -> bool:
    """Whether a record reads like one."""
    return (
        record.extra_data_size <= MAX_SNAPSHOT_EXTRA
        and image.geometry.is_aligned(record.l1_table_offset)
        and 0 < record.l1_table_offset < image.source.size
        and record.l1_size > 0
        and 0 < len(record.id) <= _LONGEST_ID
        and _is_text(record.id)
        and _is_text(record.name)
        and record.date_nanoseconds < 10**9
    )


def _is_text(stored: bytes) -> bool:
    try:
        return stored.decode().isprintable()
    except UnicodeDecodeError:
        return False
