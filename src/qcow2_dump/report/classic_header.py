"""The header and the snapshot list in the line shapes of the original tool, and its ``-H`` rows."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from qcow2_dump.image.info import FileFacts, ImageInfo
from qcow2_dump.ondisk.header import (
    FIELD_OFFSETS,
    HEADER_FIELDS,
    PADDING_OFFSET,
    UNKNOWN_OFFSET,
    Header,
)
from qcow2_dump.report.escape import printable
from qcow2_dump.report.qemu_words import compression_name
from qcow2_dump.report.units import clock, utc

if TYPE_CHECKING:  # most images have none of these
    from qcow2_dump.image.tables import SnapshotEntry

__all__ = ["header_field_rows", "header_lines", "snapshot_lines"]

_UNKNOWN = "unknown"

# What QEMU takes; damage makes names of 65,535 bytes.
_SHOWN_NAME = 255


def header_field_rows() -> Iterator[str]:
    """What ``-H`` prints: ``name offset [N bytes]`` for each field of the header."""
    for field in HEADER_FIELDS:
        yield f"{field.name} {field.offset:#x} [{field.width} bytes]"
    yield f"padding {PADDING_OFFSET:#x} [{UNKNOWN_OFFSET - PADDING_OFFSET} bytes]"


def header_lines(info: ImageInfo) -> Iterator[str]:
    """The header as lines ``name: value``; offsets in hexadecimal, the rest in decimal.

    A name or a file system that does not exist or is not known leaves its line, so that
    scripts find every name.
    """
    header = info.header
    yield f"magic: {header.magic:#x}"
    yield f"version: {header.version}"
    yield f"backing_file_offset: {header.backing_file_offset:#x}"
    yield f"backing_file_size: {header.backing_file_size}"
    yield "backing_file: " + ("" if info.backing is None else printable(info.backing.stored))
    yield from _sizes(header, info.file)
    yield from _cluster_lines(header)
    yield from _table_lines(header)
    yield f"incompatible_features: {header.incompatible_features & 0xFF:08b}"
    yield f"compatible_features: {header.compatible_features & 0xFF:08b}"
    yield f"autoclear_features: {header.autoclear_features & 0xFF:08b}"
    yield from _newer_lines(info)


def snapshot_lines(snapshots: "tuple[SnapshotEntry, ...]") -> Iterator[str]:
    """The snapshot list: the line that scripts read, and one for people below it.

    Sizes in bytes, the date in UTC.
    """
    for entry in snapshots:
        record = entry.record
        yield (
            f"snapshot[{entry.position}]:\tl1_table_offset: {record.l1_table_offset:#x}, "
            f"l1_size: {record.l1_size}"
        )
        parts = [
            f"id: {printable(record.id, _SHOWN_NAME)}",
            f"name: {printable(record.name, _SHOWN_NAME)}",
            f"date: {utc(record.date_seconds)} UTC",
            f"vm_state_size: {record.vm_state_size}",
            f"vm_clock: {clock(record.vm_clock_nanoseconds)}",
        ]
        if record.disk_size is not None:
            parts.append(f"disk_size: {record.disk_size}")
        if record.icount is not None:
            parts.append(f"icount: {record.icount}")
        yield "\t" + ", ".join(parts)


def _sizes(header: Header, file: FileFacts) -> Iterator[str]:
    kind = "block device" if file.is_device else file.file_system
    yield f"fs_type: {_UNKNOWN if kind is None else printable(kind)}"
    yield f"virtual_size: {header.size}{_in_units(header.size)}"
    if file.allocated is None:
        yield f"disk_size: {_UNKNOWN}"
    else:
        yield f"disk_size: {file.allocated}{_in_units(file.allocated)}"
    yield f"seek_end: {file.length} [{file.length:#x}]{_in_units(file.length)}"


def _in_units(length: int) -> str:
    """Whole mebibytes and gibibytes."""
    return f" / {length >> 20}M / {length >> 30}G"


def _cluster_lines(header: Header) -> Iterator[str]:
    shift = header.geometry.compressed_offset_bits
    yield f"cluster_bits: {header.cluster_bits}"
    yield f"cluster_size: {header.cluster_size}"
    yield f"crypt_method: {header.crypt_method}"
    yield f"csize_shift: {shift}"
    yield f"csize_mask: {(1 << (62 - shift)) - 1}"
    yield f"cluster_offset_mask: {(1 << shift) - 1:#x}"


def _table_lines(header: Header) -> Iterator[str]:
    geometry = header.geometry
    per_block = geometry.refcounts_per_block
    yield f"l1_table_offset: {header.l1_table_offset:#x}"
    yield f"l1_size: {header.l1_size}"
    yield f"l1_vm_state_index: {header.vm_state_l1_index}"
    yield f"l2_size: {geometry.l2_entries}"
    yield f"refcount_order: {header.refcount_order}"
    yield f"refcount_bits: {geometry.refcount_bits}"
    yield f"refcount_block_bits: {per_block.bit_length() - 1}"
    yield f"refcount_block_size: {per_block}"
    yield f"refcount_table_offset: {header.refcount_table_offset:#x}"
    yield f"refcount_table_clusters: {header.refcount_table_clusters}"
    yield f"snapshots_offset: {header.snapshots_offset:#x}"
    yield f"nb_snapshots: {header.nb_snapshots}"


def _newer_lines(info: ImageInfo) -> Iterator[str]:
    """What images have since the original was written, where they have it."""
    header, geometry = info.header, info.header.geometry
    if header.is_v3 and header.stored_length > FIELD_OFFSETS["compression_type"]:
        yield f"compression_type: {compression_name(header.compression_type)}"
    if header.extended_l2:
        yield f"subclusters: {geometry.subclusters}"
        yield f"subcluster_size: {geometry.subcluster_size}"
    if info.data_file is not None:
        yield f"data_file: {printable(info.data_file.stored or b'')}"
        yield f"data_file_raw: {'yes' if info.data_file.raw else 'no'}"
    if info.bitmaps_extension is not None:
        extension = info.bitmaps_extension
        yield f"bitmap_directory_offset: {extension.directory_offset:#x}"
        yield f"bitmap_directory_size: {extension.directory_size}"
        yield f"nb_bitmaps: {extension.nb_bitmaps}"
