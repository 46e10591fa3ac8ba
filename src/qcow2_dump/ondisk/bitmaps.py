"""Persistent dirty bitmaps: directory entries and table entries (format section 6)."""

import struct
from collections.abc import Iterator
from enum import IntEnum
from typing import NamedTuple

from qcow2_dump.errors import FormatError
from qcow2_dump.ondisk.constants import (
    MAX_BITMAP_BYTES,
    MAX_BITMAP_DIRECTORY_BYTES,
    MAX_BITMAP_GRANULARITY_BITS,
    MAX_BITMAP_NAME,
    MAX_BITMAP_TABLE_ENTRIES,
    MAX_BITMAPS,
    MAX_READABLE_OFFSET,
    MIN_BITMAP_GRANULARITY_BITS,
    BitmapFlag,
)
from qcow2_dump.ondisk.extension_records import BitmapsExtension
from qcow2_dump.ondisk.geometry import Geometry
from qcow2_dump.ondisk.rules import BrokenRule

FIXED_LENGTH = 24
"""Bytes of a directory entry before its extra data."""

DIRTY_TRACKING_TYPE = 1
"""The only type of bitmap there is."""

BITMAP_TABLE_OFFSET_MASK = 0x00FF_FFFF_FFFF_FE00
BITMAP_TABLE_RESERVED_MASK = 0xFF00_0000_0000_01FE
BITMAP_TABLE_ALL_ONES = 1

_LOADABLE_FLAGS = int(BitmapFlag.IN_USE | BitmapFlag.AUTO)
_FIXED = struct.Struct(">QIIBBHI")


class BitmapDirectoryEntry(NamedTuple):
    """One bitmap: ``table_offset`` in bytes, ``table_size`` in entries, an untrusted name."""

    table_offset: int
    table_size: int
    flags: int
    type: int
    granularity_bits: int
    extra_data: bytes
    name: bytes

    @property
    def in_use(self) -> bool:
        """Whether the bitmap was not saved cleanly; QEMU does not load such a one."""
        return bool(self.flags & BitmapFlag.IN_USE)

    @property
    def length(self) -> int:
        """Bytes in the directory, padding included."""
        return FIXED_LENGTH + len(self.extra_data) + len(self.name) + 7 & ~7

    def pack(self) -> bytes:
        """The entry on disk, zero-padded to a multiple of 8 bytes."""
        fixed = _FIXED.pack(
            self.table_offset,
            self.table_size,
            self.flags,
            self.type,
            self.granularity_bits,
            len(self.name),
            len(self.extra_data),
        )
        return (fixed + self.extra_data + self.name).ljust(self.length, b"\0")


def unpack_bitmap_entry(
    buffer: bytes | memoryview, position: int
) -> tuple[BitmapDirectoryEntry, int]:
    """Read the entry at ``position``; returns it and the position of the next one.

    Raises FormatError when the entry, padding included, crosses the end of ``buffer``.
    """
    if len(buffer) - position < FIXED_LENGTH:
        raise FormatError(f"bitmap directory ends inside the entry at {position:#x}")
    table_offset, table_size, flags, kind, granularity_bits, name_length, extra_length = (
        _FIXED.unpack_from(buffer, position)
    )
    extra_at = position + FIXED_LENGTH
    name_at = extra_at + extra_length
    end = position + (FIXED_LENGTH + extra_length + name_length + 7 & ~7)
    if end > len(buffer):
        raise FormatError(f"bitmap directory ends inside the entry at {position:#x}")
    entry = BitmapDirectoryEntry(
        table_offset=table_offset,
        table_size=table_size,
        flags=flags,
        type=kind,
        granularity_bits=granularity_bits,
        extra_data=bytes(buffer[extra_at:name_at]),
        name=bytes(buffer[name_at : name_at + name_length]),
    )
    return entry, end


class BitmapEntryKind(IntEnum):
    """What a bitmap table entry says about its cluster of bitmap data."""

    ALL_ZEROS = 0
    ALL_ONES = 1
    DATA = 2
    INVALID = 3


def bitmap_cluster_offset(raw: int) -> int:
    """Host offset of a cluster of bitmap data, 0 when there is none."""
    return raw & BITMAP_TABLE_OFFSET_MASK


def bitmap_entry_kind(raw: int, cluster_bits: int = 9) -> BitmapEntryKind:
    """The kind of a bitmap table entry (section 6.2).

    An offset that is not aligned to ``1 << cluster_bits`` is INVALID; without that argument
    alignment is not judged.
    """
    offset = raw & BITMAP_TABLE_OFFSET_MASK
    if raw & BITMAP_TABLE_RESERVED_MASK or offset & ((1 << cluster_bits) - 1):
        return BitmapEntryKind.INVALID
    if offset:
        return BitmapEntryKind.INVALID if raw & BITMAP_TABLE_ALL_ONES else BitmapEntryKind.DATA
    if raw & BITMAP_TABLE_ALL_ONES:
        return BitmapEntryKind.ALL_ONES
    return BitmapEntryKind.ALL_ZEROS


def bitmap_table_entries(virtual_size: int, granularity_bits: int, geometry: Geometry) -> int:
    """Table entries that a bitmap over a disk of ``virtual_size`` bytes has exactly."""
    bits = -(-virtual_size >> granularity_bits)
    return geometry.clusters(-(-bits // 8))


def bitmap_extension_rules(ext: BitmapsExtension, geometry: Geometry) -> Iterator[BrokenRule]:
    """Every rule of section 6.1 that the extension breaks.

    Offsets count from the start of its data. To be asked only when autoclear bit 0 is set;
    QEMU ignores the extension otherwise.
    """
    count, size, offset = ext.nb_bitmaps, ext.directory_size, ext.directory_offset
    if not 1 <= count <= MAX_BITMAPS:
        yield _refused("bitmap-count", "nb_bitmaps", 0, count, f"1 to {MAX_BITMAPS}")
    if ext.reserved:
        yield _refused("bitmaps-reserved", "reserved", 4, ext.reserved, "0")
    if not 1 <= size <= MAX_BITMAP_DIRECTORY_BYTES:
        yield _refused(
            "bitmap-directory-size",
            "directory_size",
            8,
            size,
            f"1 to {MAX_BITMAP_DIRECTORY_BYTES} bytes",
        )
    expected = _expected_place(offset, size, geometry)
    if expected is not None:
        yield _refused("bitmap-directory-offset", "directory_offset", 16, offset, expected)


def bitmap_entry_rules(
    entry: BitmapDirectoryEntry, geometry: Geometry, virtual_size: int
) -> Iterator[BrokenRule]:
    """Every rule of section 6.2 that one entry breaks; offsets count from its start.

    Names that occur twice are for whoever sees the whole directory.
    """
    yield from _table_rules(entry, geometry, virtual_size)
    unknown = entry.flags & ~_LOADABLE_FLAGS
    if unknown:
        yield _refused("bitmap-flags", "flags", 12, entry.flags, "bits 0 and 1 only")
    if entry.type != DIRTY_TRACKING_TYPE:
        yield _refused("bitmap-type", "type", 16, entry.type, f"{DIRTY_TRACKING_TYPE}")
    if not _loadable_granularity(entry):
        lowest, highest = MIN_BITMAP_GRANULARITY_BITS, MAX_BITMAP_GRANULARITY_BITS
        yield _refused(
            "bitmap-granularity",
            "granularity_bits",
            17,
            entry.granularity_bits,
            f"{lowest} to {highest}",
        )
    if not 1 <= len(entry.name) <= MAX_BITMAP_NAME:
        expected = f"1 to {MAX_BITMAP_NAME} bytes"
        length = len(entry.name)
        message = f"bitmap name has {length} bytes, must have {expected}"
        yield BrokenRule(
            "bitmap-name", "name_size", 18, length, expected, message, refused=length > 0
        )
    if entry.extra_data:
        yield _refused("bitmap-extra-data", "extra_data_size", 20, len(entry.extra_data), "0")


def _table_rules(
    entry: BitmapDirectoryEntry, geometry: Geometry, virtual_size: int
) -> Iterator[BrokenRule]:
    size, offset = entry.table_size, entry.table_offset
    most = min(MAX_BITMAP_TABLE_ENTRIES, MAX_BITMAP_BYTES // geometry.cluster_size)
    expected = "other than 0" if offset == 0 else _expected_place(offset, 8 * size, geometry)
    if expected is not None:
        broken = _refused("bitmap-table-offset", "table_offset", 0, offset, expected)
        # QEMU does not read the table of a bitmap in use, and so misses that it cannot.
        unread = entry.in_use and offset and geometry.is_aligned(offset)
        yield broken._replace(refused=not unread)
    if not 1 <= size <= most:
        yield _refused("bitmap-table-size", "table_size", 8, size, f"1 to {most} entries")
    elif not entry.in_use and _loadable_granularity(entry):
        exact = bitmap_table_entries(virtual_size, entry.granularity_bits, geometry)
        if size != exact:
            yield _refused("bitmap-table-size", "table_size", 8, size, f"exactly {exact} entries")


def _loadable_granularity(entry: BitmapDirectoryEntry) -> bool:
    lowest, highest = MIN_BITMAP_GRANULARITY_BITS, MAX_BITMAP_GRANULARITY_BITS
    return lowest <= entry.granularity_bits <= highest


def _expected_place(offset: int, length: int, geometry: Geometry) -> str | None:
    """What the place of a table should be, or None when it is fine."""
    if not geometry.is_aligned(offset):
        return f"a multiple of the cluster size, {geometry.cluster_size}"
    if offset + length > MAX_READABLE_OFFSET:
        return f"such that it ends at or below {MAX_READABLE_OFFSET:#x}"
    return None


def _refused(rule: str, field: str, offset: int, value: int, expected: str) -> BrokenRule:
    shown = f"{value:#x}" if field.endswith("_offset") else str(value)
    message = f"{field} of a bitmap is {shown}, must be {expected}"
    return BrokenRule(rule, field, offset, value, expected, message, refused=True)
