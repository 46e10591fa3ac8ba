"""L1 and L2 entries and compressed cluster descriptors (sections 2.3, 2.4 and 3)."""

import pytest

from qcow2_dump.ondisk import mapping
from qcow2_dump.ondisk.mapping import (
    ClusterType,
    CompressedDescriptor,
    EntryFlag,
    L1Entry,
    L2Entry,
    cluster_type,
    subcluster_conflict,
)

COPIED = 1 << 63
ALL_BITS = 2**64 - 1


@pytest.mark.parametrize(
    ("raw", "standard", "extended", "data_file"),
    [
        (0, ClusterType.UNALLOCATED, ClusterType.UNALLOCATED, ClusterType.UNALLOCATED),
        (1, ClusterType.ZERO_PLAIN, ClusterType.UNALLOCATED, ClusterType.ZERO_PLAIN),
        (0x50000, ClusterType.NORMAL, ClusterType.NORMAL, ClusterType.NORMAL),
        (0x50001, ClusterType.ZERO_ALLOC, ClusterType.NORMAL, ClusterType.ZERO_ALLOC),
        (COPIED, ClusterType.UNALLOCATED, ClusterType.UNALLOCATED, ClusterType.NORMAL),
        (COPIED | 1, ClusterType.ZERO_PLAIN, ClusterType.UNALLOCATED, ClusterType.ZERO_PLAIN),
        (COPIED | 0x50000, ClusterType.NORMAL, ClusterType.NORMAL, ClusterType.NORMAL),
        (2, ClusterType.UNALLOCATED, ClusterType.UNALLOCATED, ClusterType.UNALLOCATED),
        (1 << 62, *(ClusterType.COMPRESSED,) * 3),
        (ALL_BITS, *(ClusterType.COMPRESSED,) * 3),
    ],
)
def test_type_of_an_entry(
    raw: int, standard: ClusterType, extended: ClusterType, data_file: ClusterType
) -> None:
    assert cluster_type(raw, extended_l2=False, data_file=False) == standard
    assert cluster_type(raw, extended_l2=True, data_file=False) == extended
    assert cluster_type(raw, extended_l2=False, data_file=True) == data_file
    assert L2Entry(raw).cluster_type(extended_l2=False, data_file=False) == standard


def test_masks_share_out_every_bit_once() -> None:
    parts = [EntryFlag.COPIED, mapping.L1_OFFSET_MASK, mapping.L1_RESERVED_MASK]
    assert sum(parts) == ALL_BITS
    parts = [*EntryFlag, mapping.L2_OFFSET_MASK, mapping.L2_RESERVED_MASK]
    assert sum(parts) == ALL_BITS
    table = mapping.REFCOUNT_TABLE_OFFSET_MASK + mapping.REFCOUNT_TABLE_RESERVED_MASK
    assert table == ALL_BITS


def test_measured_entries_of_the_standard_image() -> None:
    l1 = L1Entry.unpack(bytes.fromhex("8000000000040000"))
    assert (l1.offset, l1.copied, l1.reserved) == (0x40000, True, 0)
    l2 = L2Entry.unpack(bytes.fromhex("8000000000050000"))
    assert (l2.offset, l2.copied, l2.compressed, l2.reserved) == (0x50000, True, False, 0)
    assert L1Entry.make(0x40000, copied=True) == l1
    assert L2Entry.make(0x50000, copied=True) == l2
    assert L2Entry.make(0, copied=False, zero=True) == L2Entry(1)


def test_reserved_bits_are_told_and_kept() -> None:
    assert L1Entry(0x8000000000040001).reserved == 1
    assert L1Entry(0xC000000000040000).reserved == 1 << 62
    assert L2Entry(0x8000000000060002).reserved == 2
    assert L2Entry(0x8100000000060000).reserved == 1 << 56
    assert L2Entry(0x8100000000060002).pack() == bytes.fromhex("8100000000060002")


@pytest.mark.parametrize("offset", [0x1FF, 1 << 56, -512])
def test_impossible_offsets_make_no_entry(offset: int) -> None:
    with pytest.raises(ValueError, match="does not fit"):
        L1Entry.make(offset, copied=False)
    with pytest.raises(ValueError, match="does not fit"):
        L2Entry.make(offset, copied=False)


def test_measured_extended_entry() -> None:
    data = bytes.fromhex("8000000000050000 0000000400000002")
    entry = L2Entry.unpack(data, extended_l2=True)
    assert (entry.offset, entry.bitmap) == (0x50000, 0x0000000400000002)
    assert entry.pack(extended_l2=True) == data
    assert subcluster_conflict(entry.bitmap) == 0


@pytest.mark.parametrize(
    ("bitmap", "conflict"),
    [
        (0x00000001FFFFFFFF, 1),
        (0xFFFFFFFF00000000, 0),
        (0xFFFFFFFFFFFFFFFF, 0xFFFFFFFF),
        (0x8000000080000001, 0x80000000),
    ],
)
def test_subcluster_conflict(bitmap: int, conflict: int) -> None:
    assert subcluster_conflict(bitmap) == conflict


@pytest.mark.parametrize(
    ("bits", "most"), [(9, 1), (12, 15), (14, 63), (16, 255), (18, 1023), (21, 8191)]
)
def test_largest_number_of_extra_sectors(bits: int, most: int) -> None:
    largest = CompressedDescriptor.unpack(ALL_BITS, bits)
    assert largest.extra_sectors == most
    assert CompressedDescriptor(0, most).length == 2 << bits
    with pytest.raises(ValueError, match="do not fit"):
        CompressedDescriptor(0, most + 1).pack(bits)
    with pytest.raises(ValueError, match="needs over"):
        CompressedDescriptor(largest.offset + 1, 0).pack(bits)


@pytest.mark.parametrize(
    ("offset", "clusters"), [(0x50000, 2), (0x501FF, 2), (0x50200, 3), (0x5FFFF, 3)]
)
def test_measured_host_clusters_of_the_longest_descriptor(offset: int, clusters: int) -> None:
    assert len(CompressedDescriptor(offset, 255).host_clusters(16)) == clusters


def test_512_byte_clusters_touch_two_at_most() -> None:
    assert len(CompressedDescriptor(0x5001, 1).host_clusters(9)) == 2


def test_measured_streams_packed_into_one_cluster() -> None:
    first = CompressedDescriptor.unpack(0x4000000000050000, 16)
    second = CompressedDescriptor.unpack(0x400000000005004F, 16)
    assert (first.offset, first.length) == (0x50000, 512)
    assert (second.offset, second.length) == (0x5004F, 512 - 0x4F)
    assert first.host_clusters(16) == second.host_clusters(16) == range(5, 6)
    assert second.pack(16) == 0x400000000005004F
    assert L2Entry(0x400000000005004F).descriptor(16) == second
