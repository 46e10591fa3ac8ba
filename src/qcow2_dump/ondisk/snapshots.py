"""Records of the snapshot table (format section 5)."""

import dataclasses
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Self

from qcow2_dump.ondisk.constants import (
    MAX_FILE_OFFSET,
    MAX_L1_ENTRIES,
    MAX_READABLE_OFFSET,
    MAX_SNAPSHOT_EXTRA,
    MIN_V3_SNAPSHOT_EXTRA,
    SECTOR_SIZE,
)
from qcow2_dump.ondisk.header import Header
from qcow2_dump.ondisk.rules import BrokenRule

FIXED_LENGTH = 40
"""Bytes of a record before its extra data."""

_FIXED = struct.Struct(">QIHHIIQII")
_NO_ICOUNT = 2**64 - 1
_AS_LONG_AS_HELD = -1


@dataclass(frozen=True, slots=True)
class SnapshotRecord:
    """One snapshot.

    ``id`` and ``name`` are untrusted bytes. ``extra_data_size`` is the length as stored;
    ``extra_data`` is shorter only when a read record claims more than there was to read.
    Left out, it is the length of ``extra_data``.
    """

    l1_table_offset: int
    l1_size: int
    id: bytes
    name: bytes
    date_seconds: int
    date_nanoseconds: int
    vm_clock_nanoseconds: int
    vm_state_size_32: int
    extra_data: bytes
    extra_data_size: int = _AS_LONG_AS_HELD

    def __post_init__(self) -> None:
        if self.extra_data_size == _AS_LONG_AS_HELD:
            object.__setattr__(self, "extra_data_size", len(self.extra_data))

    def _extra_field(self, offset: int) -> int | None:
        """An 8-byte field of the extra data, which exists only when it fits completely."""
        if self.extra_data_size < offset + 8:
            return None
        return int.from_bytes(self.extra_data[offset : offset + 8].ljust(8, b"\0"), "big")

    @property
    def vm_state_size(self) -> int:
        """Bytes of saved VM state; the 64-bit field when there is one."""
        large = self._extra_field(0)
        return self.vm_state_size_32 if large is None else large

    @property
    def disk_size(self) -> int | None:
        """Virtual disk size in bytes, None when the image's own size applies."""
        return self._extra_field(8)

    @property
    def icount(self) -> int | None:
        """Instruction count of record/replay, None when there is none."""
        value = self._extra_field(16)
        return None if value == _NO_ICOUNT else value

    @property
    def length(self) -> int:
        """Bytes of the record without the padding behind it."""
        return FIXED_LENGTH + self.extra_data_size + len(self.id) + len(self.name)

    def with_extra_data(self, extra_data: bytes) -> Self:
        """The same snapshot with other extra data, and its length to match."""
        return dataclasses.replace(self, extra_data=extra_data, extra_data_size=len(extra_data))

    def pack(self) -> bytes:
        """The record on disk, zero-padded to a multiple of 8 bytes.

        Raises ValueError when extra data is missing because the record was cut off.
        """
        if self.extra_data_size != len(self.extra_data):
            raise ValueError(
                f"snapshot record holds {len(self.extra_data)} of its "
                f"{self.extra_data_size} bytes of extra data"
            )
        fixed = _FIXED.pack(
            self.l1_table_offset,
            self.l1_size,
            len(self.id),
            len(self.name),
            self.date_seconds,
            self.date_nanoseconds,
            self.vm_clock_nanoseconds,
            self.vm_state_size_32,
            self.extra_data_size,
        )
        return (fixed + self.extra_data + self.id + self.name).ljust(_padded(self.length), b"\0")


def unpack_snapshot(buffer: bytes | memoryview, position: int) -> tuple[SnapshotRecord, int]:
    """Read the record at ``position``; returns it and the position of the next one.

    Bytes past the end of ``buffer`` read as zeros, and the next position may lie there. Of
    extra data beyond the buffer only as much as a sound record can have is filled up.
    """
    fixed = bytes(buffer[position : position + FIXED_LENGTH]).ljust(FIXED_LENGTH, b"\0")
    (
        l1_table_offset,
        l1_size,
        id_length,
        name_length,
        date_seconds,
        date_nanoseconds,
        vm_clock_nanoseconds,
        vm_state_size_32,
        extra_size,
    ) = _FIXED.unpack(fixed)
    extra_at = position + FIXED_LENGTH
    extra = bytes(buffer[extra_at : extra_at + extra_size])
    id_at = extra_at + extra_size
    name_at = id_at + id_length
    record = SnapshotRecord(
        l1_table_offset=l1_table_offset,
        l1_size=l1_size,
        id=bytes(buffer[id_at:name_at]).ljust(id_length, b"\0"),
        name=bytes(buffer[name_at : name_at + name_length]).ljust(name_length, b"\0"),
        date_seconds=date_seconds,
        date_nanoseconds=date_nanoseconds,
        vm_clock_nanoseconds=vm_clock_nanoseconds,
        vm_state_size_32=vm_state_size_32,
        extra_data=extra.ljust(min(extra_size, MAX_SNAPSHOT_EXTRA), b"\0"),
        extra_data_size=extra_size,
    )
    return record, position + _padded(record.length)


def pack_snapshot_table(records: Iterable[SnapshotRecord]) -> bytes:
    """The whole table, the last record padded too. Raises ValueError like ``pack``."""
    return b"".join(record.pack() for record in records)


def _padded(length: int) -> int:
    return length + 7 & ~7


def snapshot_record_rules(record: SnapshotRecord, header: Header) -> Iterator[BrokenRule]:
    """Every rule of section 5.3 that one record breaks; offsets count from its start.

    Only too much extra data makes QEMU refuse the image; the rest it finds in a check or
    not at all.
    """
    yield from _extra_data_rules(record, header)
    yield from _l1_rules(record, header)
    yield from _disk_size_rules(record, header)
    if not record.id or not record.l1_size:
        what = "id" if not record.id else "L1 table"
        yield BrokenRule(
            "snapshot-ghost",
            "id" if not record.id else "l1_size",
            12 if not record.id else 8,
            0,
            f"an {what}",
            f"snapshot record without an {what}",
            refused=False,
        )


def _extra_data_rules(record: SnapshotRecord, header: Header) -> Iterator[BrokenRule]:
    size = record.extra_data_size
    if header.is_v3 and size < MIN_V3_SNAPSHOT_EXTRA:
        rule, expected = "snapshot-extra-short", f"{MIN_V3_SNAPSHOT_EXTRA} bytes or more"
    elif size > MAX_SNAPSHOT_EXTRA:
        rule, expected = "snapshot-extra-long", f"at most {MAX_SNAPSHOT_EXTRA} bytes"
    else:
        return
    message = f"snapshot record has {size} bytes of extra data, must have {expected}"
    refused = size > MAX_SNAPSHOT_EXTRA
    yield BrokenRule(rule, "extra_data_size", 36, size, expected, message, refused)


def _l1_rules(record: SnapshotRecord, header: Header) -> Iterator[BrokenRule]:
    offset, entries = record.l1_table_offset, record.l1_size
    if entries > MAX_L1_ENTRIES:
        expected = f"at most {MAX_L1_ENTRIES} entries"
        message = f"snapshot L1 table has {entries} entries, may have {expected}"
        yield BrokenRule("snapshot-l1-size", "l1_size", 8, entries, expected, message, False)
    if not header.geometry.is_aligned(offset):
        expected = f"a multiple of the cluster size, {header.cluster_size}"
    elif entries and offset + 8 * entries > MAX_READABLE_OFFSET:
        expected = f"such that the table ends at or below {MAX_READABLE_OFFSET:#x}"
    else:
        return
    message = f"snapshot L1 table at {offset:#x}, must be {expected}"
    yield BrokenRule("snapshot-l1-offset", "l1_table_offset", 0, offset, expected, message, False)


def _disk_size_rules(record: SnapshotRecord, header: Header) -> Iterator[BrokenRule]:
    size = record.disk_size
    if size is None:
        return
    most = record.l1_size * header.geometry.l1_span
    if size == 0 or size % SECTOR_SIZE:
        expected = f"a positive multiple of {SECTOR_SIZE} bytes"
    elif size > MAX_FILE_OFFSET:
        expected = f"at most {MAX_FILE_OFFSET} bytes"
    elif size > most:
        expected = f"at most {most} bytes with {record.l1_size} L1 entries"
    else:
        return
    message = f"snapshot disk size is {size} bytes, must be {expected}"
    yield BrokenRule("snapshot-disk-size", "disk_size", 48, size, expected, message, False)
