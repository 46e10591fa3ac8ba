"""Sound structures that the tests bend one field at a time."""

from typing import Any

from qcow2_dump.ondisk.bitmaps import BitmapDirectoryEntry
from qcow2_dump.ondisk.header import Header
from qcow2_dump.ondisk.snapshots import SnapshotRecord

MIB = 1024 * 1024

V3 = Header(
    magic=0x514649FB,
    version=3,
    backing_file_offset=0,
    backing_file_size=0,
    cluster_bits=16,
    size=64 * MIB,
    crypt_method=0,
    l1_size=1,
    l1_table_offset=0x30000,
    refcount_table_offset=0x10000,
    refcount_table_clusters=1,
    nb_snapshots=0,
    snapshots_offset=0,
    refcount_order=4,
    header_length=112,
    padding=bytes(7),
)
"""The header of a 64 MiB image as qemu-img 7.2 creates it."""

V2 = V3._replace(version=2, header_length=72, padding=b"")

SNAPSHOT = SnapshotRecord(
    l1_table_offset=0x80000,
    l1_size=1,
    id=b"1",
    name=b"before",
    date_seconds=1_700_000_000,
    date_nanoseconds=5,
    vm_clock_nanoseconds=7,
    vm_state_size_32=0,
    extra_data=bytes(8) + (64 * MIB).to_bytes(8, "big") + b"\xff" * 8,
)

BITMAP = BitmapDirectoryEntry(
    table_offset=0x90000,
    table_size=1,
    flags=2,
    type=1,
    granularity_bits=16,
    extra_data=b"",
    name=b"backup",
)


def v3(**changes: Any) -> Header:
    """A sound version 3 header with some fields changed."""
    return V3._replace(**changes)
