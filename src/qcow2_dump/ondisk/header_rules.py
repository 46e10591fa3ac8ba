"""Which rules of format section 1.3 a header breaks, as far as the header alone tells.

The numbers in the comments are those of the table in section 1.3, which follows the order
in which QEMU decides. Rules 1 to 3 and 9 make a header unreadable and are exceptions of
``Header.unpack``; those about extensions live in ``extensions``.
"""

from collections.abc import Iterator

from qcow2_dump.ondisk.constants import (
    MAX_FILE_OFFSET,
    MAX_L1_ENTRIES,
    MAX_L1_INDEX,
    MAX_READABLE_OFFSET,
    MAX_REFCOUNT_ORDER,
    MAX_REFCOUNT_TABLE_BYTES,
    MAX_SNAPSHOTS,
    MIN_EXTENDED_L2_CLUSTER_BITS,
    SECTOR_SIZE,
    V3_MIN_HEADER_LENGTH,
    AutoclearFeature,
    CompressionType,
    CryptMethod,
    IncompatibleFeature,
)
from qcow2_dump.ondisk.header import FIELD_OFFSETS, PADDING_OFFSET, Header
from qcow2_dump.ondisk.rules import BrokenRule

_MIN_SNAPSHOT_RECORD = 40


def broken_header_rules(header: Header) -> Iterator[BrokenRule]:
    """Every rule that ``header`` breaks, in the order in which QEMU would notice.

    Rules that QEMU does not enforce come with ``refused`` False.
    """
    yield from _length_rules(header)
    yield from _compression_rules(header)
    yield from _width_rules(header)
    yield from _refcount_table_rules(header)
    yield from _snapshot_rules(header)
    yield from _l1_rules(header)
    yield from _feature_rules(header)


def _broken(
    header: Header,
    rule: str,
    field: str,
    expected: str,
    *,
    refused: bool = True,
    open_only: bool = False,
) -> BrokenRule:
    value = int(getattr(header, field))
    shown = f"{value:#x}" if field.endswith(("_offset", "_features")) else str(value)
    message = f"{field} is {shown}, must be {expected}"
    return BrokenRule(
        rule, field, FIELD_OFFSETS[field], value, expected, message, refused, open_only
    )


def _length_rules(header: Header) -> Iterator[BrokenRule]:
    length, cluster_size = header.header_length, header.cluster_size
    if header.is_v3 and length < V3_MIN_HEADER_LENGTH:  # 4
        yield _broken(header, "header-length", "header_length", f"{V3_MIN_HEADER_LENGTH} or more")
    elif header.is_v3 and length > cluster_size:  # 5
        yield _broken(
            header, "header-length", "header_length", f"at most the cluster size, {cluster_size}"
        )
    elif length % 8:
        yield _broken(
            header, "header-length-unaligned", "header_length", "a multiple of 8", refused=False
        )
    if header.backing_file_offset > cluster_size:  # 6
        yield _broken(
            header, "backing-offset", "backing_file_offset", "inside the first cluster, or 0"
        )
    if any(header.padding):
        value = int.from_bytes(header.padding, "big")
        yield BrokenRule(
            "header-padding",
            "padding",
            PADDING_OFFSET,
            value,
            "zero",
            f"padding after compression_type is {header.padding.hex()}, must be zero",
            refused=False,
        )


def _compression_rules(header: Header) -> Iterator[BrokenRule]:
    method = header.compression_type
    announced = IncompatibleFeature.COMPRESSION_TYPE in header.incompatible
    if method > max(CompressionType):  # 7
        yield _broken(header, "compression-type", "compression_type", "0 (deflate) or 1 (zstd)")
    elif announced != (method != CompressionType.DEFLATE):  # 8
        expected = (
            "other than 0 as incompatible bit 3 is set"
            if announced
            else "0 as incompatible bit 3 is clear"
        )
        yield _broken(header, "compression-type", "compression_type", expected)


def _width_rules(header: Header) -> Iterator[BrokenRule]:
    if header.extended_l2 and header.cluster_bits < MIN_EXTENDED_L2_CLUSTER_BITS:  # 11
        yield _broken(
            header,
            "extended-l2",
            "cluster_bits",
            f"{MIN_EXTENDED_L2_CLUSTER_BITS} or more with extended L2 entries",
        )
    if header.refcount_order > MAX_REFCOUNT_ORDER:  # 12
        yield _broken(header, "refcount-order", "refcount_order", f"at most {MAX_REFCOUNT_ORDER}")


def _expected_table_place(header: Header, offset: int, length: int) -> str | None:
    """What the place of a table should be, or None when it is fine.

    An empty table is never read, and so may lie where nothing can be read.
    """
    if not header.geometry.is_aligned(offset):
        return f"a multiple of the cluster size, {header.cluster_size}"
    end = MAX_READABLE_OFFSET if length else MAX_FILE_OFFSET  # 19, else 14 to 16
    if offset + length > end:
        return f"such that the table ends at or below {end:#x}"
    return None


def _refcount_table_rules(header: Header) -> Iterator[BrokenRule]:
    clusters = header.refcount_table_clusters
    length = clusters * header.cluster_size
    if clusters == 0:  # 13
        yield _broken(
            header,
            "refcount-table-empty",
            "refcount_table_clusters",
            "1 or more",
            open_only=True,
        )
    if length > MAX_REFCOUNT_TABLE_BYTES:  # 14
        most = MAX_REFCOUNT_TABLE_BYTES // header.cluster_size
        yield _broken(
            header, "refcount-table-size", "refcount_table_clusters", f"at most {most} clusters"
        )
    place = _expected_table_place(header, header.refcount_table_offset, length)
    if place is not None:
        yield _broken(header, "refcount-table-offset", "refcount_table_offset", place)


def _snapshot_rules(header: Header) -> Iterator[BrokenRule]:
    count = header.nb_snapshots
    if count > MAX_SNAPSHOTS:  # 15
        yield _broken(header, "snapshot-count", "nb_snapshots", f"at most {MAX_SNAPSHOTS}")
    # Records have no fixed size; what can be asked for is room for the shortest ones.
    least = count * _MIN_SNAPSHOT_RECORD
    place = _expected_table_place(header, header.snapshots_offset, least)
    if place is not None:
        yield _broken(header, "snapshots-offset", "snapshots_offset", place)


def _l1_rules(header: Header) -> Iterator[BrokenRule]:
    entries = header.l1_size
    if entries > MAX_L1_ENTRIES:  # 16
        yield _broken(header, "l1-size", "l1_size", f"at most {MAX_L1_ENTRIES} entries")
    place = _expected_table_place(header, header.l1_table_offset, entries * 8)
    if place is not None:
        yield _broken(header, "l1-offset", "l1_table_offset", place)
    needed = header.vm_state_l1_index
    if header.size > MAX_FILE_OFFSET or needed > MAX_L1_INDEX:  # 17
        most = min(MAX_FILE_OFFSET, MAX_L1_INDEX * header.geometry.l1_span)
        yield _broken(header, "virtual-size", "size", f"at most {most} bytes")
    elif entries < needed:  # 18
        yield _broken(
            header, "l1-short", "l1_size", f"{needed} entries or more for {header.size} bytes"
        )
    if header.size % SECTOR_SIZE:
        yield _broken(
            header, "size-not-sectors", "size", f"a multiple of {SECTOR_SIZE}", refused=False
        )


def _feature_rules(header: Header) -> Iterator[BrokenRule]:
    if header.crypt_method > max(CryptMethod):  # 20
        yield _broken(header, "crypt-method", "crypt_method", "0, 1 (AES) or 2 (LUKS)")
    if AutoclearFeature.RAW_DATA_FILE in header.autoclear and not header.has_data_file:  # 23
        yield _broken(
            header,
            "raw-data-file-bit",
            "autoclear_features",
            "without bit 1, as there is no external data file",
        )
