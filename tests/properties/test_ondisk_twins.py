"""The array functions say what their scalar twins say, entry by entry.

The rule: whoever changes one of the two changes both. Entries are drawn where it matters,
around flag bits, reserved bits and the top of the number range.
"""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qcow2_dump.ondisk import arrays, bitmaps, mapping, refcounts
from qcow2_dump.ondisk.arrays import U64

interesting = [0, 1, 2, 3, 1 << 61, 1 << 62, 1 << 63, 2**53 + 1, 2**64 - 1, 0x8000000000050000]
offsets = st.integers(0, 2**47 - 1).map(lambda sector: sector << 9)
flags = st.sets(st.sampled_from([0, 1, 8, 56, 61, 62, 63])).map(
    lambda bits: sum(1 << bit for bit in bits)
)
entries = st.one_of(
    st.sampled_from(interesting),
    st.integers(0, 2**64 - 1),
    st.builds(lambda offset, flag: offset | flag, offsets, flags),
    flags,
)
tables = st.lists(entries, max_size=40)
cluster_bits = st.integers(9, 21)


def native(values: list[int]) -> U64:
    return np.array(values, np.uint64)


@given(tables)
def test_decode_and_encode(values: list[int]) -> None:
    data = b"".join(value.to_bytes(8, "big") for value in values)
    decoded = arrays.decode_u64(data)
    assert decoded.dtype == np.uint64
    assert decoded.dtype.isnative
    assert decoded.tolist() == values
    assert arrays.encode_u64(decoded) == data
    out = np.empty(len(values), np.uint64)
    assert arrays.decode_u64(memoryview(data), out) is out
    assert out.tolist() == values


def test_decode_refuses_what_does_not_fit() -> None:
    with pytest.raises(ValueError, match="multiple of element size"):
        arrays.decode_u64(bytes(9))
    with pytest.raises(ValueError, match="do not fit"):
        arrays.decode_u64(bytes(16), np.empty(1, np.uint64))
    with pytest.raises(ValueError, match="do not fit"):
        arrays.decode_u64(bytes(8), np.empty(2, np.uint64))


@given(tables.filter(lambda values: len(values) % 2 == 0), st.booleans())
def test_decode_l2(values: list[int], extended_l2: bool) -> None:
    data = b"".join(value.to_bytes(8, "big") for value in values)
    size = 16 if extended_l2 else 8
    twins = [
        mapping.L2Entry.unpack(data[at : at + size], extended_l2=extended_l2)
        for at in range(0, len(data), size)
    ]
    raw, subclusters = arrays.decode_l2(data, extended_l2=extended_l2)
    assert raw.tolist() == [twin.raw for twin in twins]
    if extended_l2:
        assert subclusters is not None
        assert subclusters.tolist() == [twin.bitmap for twin in twins]
    else:
        assert subclusters is None


@given(tables)
def test_offsets(values: list[int]) -> None:
    raw = native(values)
    out = np.empty_like(raw)
    assert arrays.l1_offsets(raw).tolist() == [mapping.L1Entry(each).offset for each in values]
    assert arrays.l2_offsets(raw).tolist() == [mapping.L2Entry(each).offset for each in values]
    assert arrays.l2_offsets(raw, out) is out
    assert out.tolist() == arrays.l2_offsets(raw).tolist()
    assert arrays.refcount_table_offsets(raw).tolist() == [
        each & mapping.REFCOUNT_TABLE_OFFSET_MASK for each in values
    ]
    assert raw.tolist() == values


@given(tables, st.booleans(), st.booleans())
def test_cluster_types(values: list[int], extended_l2: bool, data_file: bool) -> None:
    raw = native(values)
    found = arrays.cluster_types(raw, extended_l2=extended_l2, data_file=data_file)
    assert found.dtype == np.uint8
    assert found.tolist() == [
        mapping.cluster_type(each, extended_l2=extended_l2, data_file=data_file) for each in values
    ]
    assert raw.tolist() == values


@given(tables, st.booleans())
def test_cluster_types_of_a_strided_view(values: list[int], data_file: bool) -> None:
    raw = np.repeat(native(values), 2)[0::2]
    found = arrays.cluster_types(raw, extended_l2=True, data_file=data_file)
    assert found.tolist() == [
        mapping.cluster_type(each, extended_l2=True, data_file=data_file) for each in values
    ]


@given(tables, cluster_bits)
def test_compressed_extents(values: list[int], bits: int) -> None:
    twins = [mapping.CompressedDescriptor.unpack(each, bits) for each in values]
    found, lengths = arrays.compressed_extents(native(values), bits)
    assert found.dtype == lengths.dtype == np.dtype(np.uint64)
    assert found.tolist() == [twin.offset for twin in twins]
    assert lengths.tolist() == [twin.length for twin in twins]


@given(tables)
def test_subcluster_conflicts(values: list[int]) -> None:
    found = arrays.subcluster_conflicts(native(values))
    assert found.tolist() == [mapping.subcluster_conflict(each) for each in values]


@given(tables, cluster_bits)
def test_cluster_indices(values: list[int], bits: int) -> None:
    expected = [each >> bits for each in values]
    raw = native(values)
    found = arrays.cluster_indices(raw, bits)
    assert found.dtype == np.int64
    assert found.tolist() == expected
    out = np.empty(len(values), np.int64)
    assert arrays.cluster_indices(raw, bits, out) is out
    assert out.tolist() == expected
    assert raw.tolist() == values
    assert arrays.cluster_indices(raw, bits, raw.view(np.int64)).tolist() == expected


@given(tables, cluster_bits)
def test_bitmap_entry_kinds(values: list[int], bits: int) -> None:
    found = arrays.bitmap_entry_kinds(native(values), bits)
    assert found.dtype == np.uint8
    assert found.tolist() == [bitmaps.bitmap_entry_kind(each, bits) for each in values]
    alignment_unjudged = arrays.bitmap_entry_kinds(native(values))
    assert alignment_unjudged.tolist() == [bitmaps.bitmap_entry_kind(each) for each in values]


@given(st.integers(0, 6), st.binary(max_size=8).map(lambda data: data * 8))
def test_refcounts(order: int, block: bytes) -> None:
    expected = refcounts.unpack_refcounts(block, order)
    found = arrays.unpack_refcounts(block, order)
    assert found.tolist() == expected
    assert arrays.pack_refcounts(found, order) == block


@given(st.integers(0, 6), st.data())
def test_pack_refcounts(order: int, data: st.DataObject) -> None:
    largest = 2 ** (2**order) - 1
    values = data.draw(st.lists(st.integers(0, largest), max_size=40))
    packed = arrays.pack_refcounts(native(values), order)
    assert packed == refcounts.pack_refcounts(values, order)


@pytest.mark.parametrize("order", range(7))
def test_every_byte_value_at_every_width(order: int) -> None:
    block = bytes(range(256))
    assert arrays.unpack_refcounts(block, order).tolist() == refcounts.unpack_refcounts(
        block, order
    )
