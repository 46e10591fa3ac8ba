"""Single structures to bytes. Field meanings: format sections 1 (header), 5, 6 and 7."""

import struct
from collections.abc import Sequence
from dataclasses import dataclass

from tests.builder.spec import (
    AUTOCLEAR_BITMAPS,
    INCOMPATIBLE_COMPRESSION,
    INCOMPATIBLE_DATA_FILE,
    INCOMPATIBLE_EXTENDED_L2,
    BitmapSpec,
    ImageSpec,
    SnapshotSpec,
)

COPIED = 1 << 63
COMPRESSED = 1 << 62
ZERO_FLAG = 1

EXTENSION_BACKING_FORMAT = 0xE2792ACA
EXTENSION_FEATURE_TABLE = 0x6803F857
EXTENSION_BITMAPS = 0x23852875
EXTENSION_CRYPTO = 0x0537BE77
EXTENSION_DATA_FILE = 0x44415441

FEATURE_NAMES = (
    (0, 0, "dirty bit"),
    (0, 1, "corrupt bit"),
    (0, 2, "external data file"),
    (0, 3, "compression type"),
    (0, 4, "extended L2 entries"),
    (1, 0, "lazy refcounts"),
    (2, 0, "bitmaps"),
    (2, 1, "raw external data"),
)


@dataclass(frozen=True)
class HeaderPlaces:
    """What the header says about places: host byte offsets and sizes in the units on disk."""

    l1_offset: int
    l1_size: int
    refcount_table_offset: int
    refcount_table_clusters: int
    snapshots_offset: int
    luks_offset: int
    bitmap_directory_offset: int
    bitmap_directory_size: int


def pack_header_cluster(spec: ImageSpec, places: HeaderPlaces) -> tuple[bytes, dict[int, int]]:
    """Return the used bytes of cluster 0, and the offset of each extension's head by type."""
    version_3 = b"" if spec.version == 2 else _pack_version_3(spec)
    at = 72 + len(version_3)
    heads: dict[int, int] = {}
    tail = b""
    for kind, data in _extensions(spec, places):
        heads[kind] = at + len(tail)
        tail += struct.pack(">II", kind, len(data)) + _padded(data)
    tail += bytes(8)
    name = (spec.backing_name or "").encode()
    name_at = at + len(tail) if name else 0
    out = _pack_version_2(spec, places, name_at, len(name)) + version_3 + tail + name
    if len(out) > spec.cluster_size:
        raise ValueError(f"a header of {len(out)} bytes does not fit into a cluster")
    return out, heads


def _pack_version_2(spec: ImageSpec, places: HeaderPlaces, name_at: int, name_len: int) -> bytes:
    return struct.pack(
        ">IIQIIQIIQQIIQ",
        0x514649FB,
        spec.version,
        name_at,
        name_len,
        spec.cluster_bits,
        spec.virtual_size,
        spec.crypt_method,
        places.l1_size,
        places.l1_offset,
        places.refcount_table_offset,
        places.refcount_table_clusters,
        len(spec.snapshots),
        places.snapshots_offset,
    )


def _pack_version_3(spec: ImageSpec) -> bytes:
    length = spec.header_length + len(spec.header_extra)
    compression = bytes([spec.compression_type]) + bytes(7)
    return (
        struct.pack(
            ">QQQII",
            incompatible_features(spec),
            spec.compatible,
            spec.autoclear | (AUTOCLEAR_BITMAPS if spec.bitmaps else 0),
            spec.refcount_order,
            length,
        )
        + compression[: spec.header_length - 104]
        + spec.header_extra
    )


def incompatible_features(spec: ImageSpec) -> int:
    """Return the incompatible feature word that the other fields of ``spec`` call for."""
    word = spec.incompatible
    if spec.data_file is not None:
        word |= INCOMPATIBLE_DATA_FILE
    if spec.compression_type:
        word |= INCOMPATIBLE_COMPRESSION
    if spec.extended_l2:
        word |= INCOMPATIBLE_EXTENDED_L2
    return word


def _extensions(spec: ImageSpec, places: HeaderPlaces) -> list[tuple[int, bytes]]:
    found: list[tuple[int, bytes]] = []
    if spec.backing_format is not None:
        found.append((EXTENSION_BACKING_FORMAT, spec.backing_format.encode()))
    if spec.data_file is not None:
        found.append((EXTENSION_DATA_FILE, spec.data_file.encode()))
    if spec.luks is not None:
        found.append((EXTENSION_CRYPTO, struct.pack(">QQ", places.luks_offset, len(spec.luks))))
    if spec.feature_table:
        found.append((EXTENSION_FEATURE_TABLE, _pack_feature_table()))
    if spec.bitmaps:
        directory = (places.bitmap_directory_size, places.bitmap_directory_offset)
        found.append((EXTENSION_BITMAPS, struct.pack(">IIQQ", len(spec.bitmaps), 0, *directory)))
    return found + list(spec.extensions)


def _pack_feature_table() -> bytes:
    return b"".join(struct.pack(">BB46s", w, b, name.encode()) for w, b, name in FEATURE_NAMES)


def pack_snapshot(spec: ImageSpec, snapshot: SnapshotSpec, l1_offset: int, l1_size: int) -> bytes:
    """Return one snapshot record without its padding."""
    disk_size = spec.virtual_size if snapshot.disk_size is None else snapshot.disk_size
    extra = struct.pack(">QQQ", snapshot.vm_state_size, disk_size, snapshot.icount)
    id_bytes, name = snapshot.id.encode(), snapshot.name.encode()
    fixed = struct.pack(
        ">QIHHIIQII",
        l1_offset,
        l1_size,
        len(id_bytes),
        len(name),
        snapshot.date_sec,
        snapshot.date_nsec,
        snapshot.vm_clock_nsec,
        snapshot.vm_state_size if snapshot.vm_state_size < 1 << 32 else 0,
        snapshot.extra_length,
    )
    extra = extra[: snapshot.extra_length].ljust(snapshot.extra_length, b"\xab")
    return fixed + extra + id_bytes + name


def pack_bitmap(bitmap: BitmapSpec, table_offset: int, entries: int) -> bytes:
    """Return one bitmap directory entry, padded."""
    name = bitmap.name.encode()
    head = (table_offset, entries, bitmap.flags, bitmap.type, bitmap.granularity_bits)
    return _padded(struct.pack(">QIIBBHI", *head, len(name), 0) + name)


def pack_records(records: Sequence[bytes]) -> tuple[bytes, list[int]]:
    """Join records, each starting 8-byte aligned; return the bytes and where each one starts."""
    out = bytearray()
    starts = []
    for record in records:
        out += bytes(-len(out) % 8)
        starts.append(len(out))
        out += record
    return bytes(out), starts


def compressed_entry(cluster_bits: int, offset: int, sectors: int) -> int:
    """Return an L2 entry for a stream at byte ``offset`` with ``sectors`` additional sectors."""
    split = 62 - (cluster_bits - 8)
    if offset >> min(split, 56) or sectors >> (cluster_bits - 8):
        raise ValueError("a compressed descriptor cannot say this")
    return COMPRESSED | sectors << split | offset


def pack_refcount(block: bytearray, order: int, index: int, value: int) -> None:
    """Store one refcount in a block of 2^order-bit refcounts; ValueError when it is too large."""
    bits = 1 << order
    if not 0 <= value < 1 << bits:
        raise ValueError(f"a refcount of {value} does not fit into {bits} bits")
    if bits >= 8:
        width = bits // 8
        block[index * width : (index + 1) * width] = value.to_bytes(width, "big")
        return
    byte, place = divmod(index * bits, 8)
    mask = ((1 << bits) - 1) << place
    block[byte] = block[byte] & ~mask | value << place


def unpack_refcount(block: bytes, order: int, index: int) -> int:
    """Return one refcount of a block of 2^order-bit refcounts."""
    bits = 1 << order
    if bits >= 8:
        width = bits // 8
        return int.from_bytes(block[index * width : (index + 1) * width], "big")
    byte, place = divmod(index * bits, 8)
    return block[byte] >> place & ((1 << bits) - 1)


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 8)
