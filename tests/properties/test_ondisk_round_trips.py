"""Whatever is unpacked packs to the same bytes, and the other way round; nothing crashes."""

import struct
from contextlib import suppress

from hypothesis import given
from hypothesis import strategies as st

from qcow2_dump.errors import FormatError
from qcow2_dump.ondisk.bitmaps import (
    BitmapDirectoryEntry,
    bitmap_entry_rules,
    bitmap_extension_rules,
    unpack_bitmap_entry,
)
from qcow2_dump.ondisk.extension_records import unpack_extensions
from qcow2_dump.ondisk.extensions import (
    BitmapsExtension,
    CryptoHeader,
    Extension,
    FeatureName,
    backing_file_name,
    pack_extensions,
    parse_extensions,
)
from qcow2_dump.ondisk.geometry import Geometry
from qcow2_dump.ondisk.header import Header
from qcow2_dump.ondisk.header_rules import broken_header_rules
from qcow2_dump.ondisk.mapping import CompressedDescriptor, L1Entry, L2Entry
from qcow2_dump.ondisk.refcounts import (
    get_refcount,
    pack_refcounts,
    set_refcount,
    unpack_refcounts,
)
from qcow2_dump.ondisk.snapshots import (
    SnapshotRecord,
    pack_snapshot_table,
    snapshot_record_rules,
    unpack_snapshot,
)

u8, u16, u32, u64 = (st.integers(0, 2**bits - 1) for bits in (8, 16, 32, 64))
cluster_bits = st.integers(9, 21)
orders = st.integers(0, 6)


@st.composite
def header_bytes(draw: st.DrawFn) -> bytes:
    """A first cluster that unpacks, every field but those that forbid it drawn freely."""
    version = draw(st.sampled_from([2, 3]))
    bits = draw(cluster_bits)
    length = draw(st.one_of(st.integers(100, 160), st.just(1 << bits), u32))
    head = struct.pack(
        ">IIQIIQIIQQIIQQQQIIB",
        0x514649FB,
        version,
        draw(u64),
        draw(u32),
        bits,
        draw(u64),
        draw(u32),
        draw(u32),
        draw(u64),
        draw(u64),
        draw(u32),
        draw(u32),
        draw(u64),
        draw(st.integers(0, 31)),
        draw(u64),
        draw(u64),
        draw(u32),
        length,
        draw(u8),
    )
    return head + draw(st.binary(max_size=200))


@given(header_bytes())
def test_header(data: bytes) -> None:
    header = Header.unpack(data)
    packed = header.pack()
    assert packed == data[: len(packed)].ljust(len(packed), b"\0")
    assert Header.unpack(packed) == header


@given(header_bytes())
def test_rules_and_extensions_stand_every_header(data: bytes) -> None:
    header = Header.unpack(data)
    assert all("\n" not in broken.message for broken in broken_header_rules(header))
    area = parse_extensions(data, header)
    assert all("\n" not in broken.message for broken in area.problems)
    backing_file_name(data, header)


@given(st.binary(max_size=600))
def test_random_bytes_unpack_or_are_refused(data: bytes) -> None:
    for candidate in (data, b"QFI\xfb" + data, b"QFI\xfb\0\0\0\3" + data):
        with suppress(FormatError):
            Header.unpack(candidate)


extensions = st.lists(
    st.builds(Extension, st.integers(1, 2**32 - 1), st.just(0), st.binary(max_size=40)),
    max_size=5,
)
SMALL = Header.unpack(
    struct.pack(">IIQIIQIIQQIIQ", 0x514649FB, 2, 0, 0, 9, 512, 0, 1, 1536, 512, 1, 0, 0)
)


@given(extensions)
def test_extensions(wanted: list[Extension]) -> None:
    packed = pack_extensions(wanted)
    header = SMALL._replace(cluster_bits=16)
    found = unpack_extensions(header.pack() + packed, header)
    assert found.cut_off is None
    assert found.end == 72 + len(packed)
    assert [(each.type, each.data) for each in found.extensions] == [
        (each.type, each.data) for each in wanted
    ]
    assert pack_extensions(found.extensions) == packed


@given(st.binary(max_size=440), u64, u32)
def test_random_extension_areas_do_not_crash(area: bytes, backing: int, size: int) -> None:
    header = SMALL._replace(backing_file_offset=backing % 600, backing_file_size=size)
    cluster = header.pack() + area
    found = parse_extensions(cluster, header)
    for extension in found.extensions:
        at = extension.offset + 8
        stored = cluster[at : at + len(extension.data)].ljust(len(extension.data), b"\0")
        assert extension.data == stored
    assert isinstance(found.feature_names, tuple)


@given(st.binary(min_size=24, max_size=24))
def test_bitmaps_extension(data: bytes) -> None:
    extension = BitmapsExtension.unpack(data)
    assert extension.pack() == data
    assert all(broken.refused for broken in bitmap_extension_rules(extension, Geometry(16)))


@given(st.binary(min_size=16, max_size=16))
def test_crypto_header(data: bytes) -> None:
    assert CryptoHeader.unpack(data).pack() == data


@given(u8, u8, st.binary(max_size=46).map(lambda name: name.rstrip(b"\0")))
def test_feature_name(word: int, bit: int, name: bytes) -> None:
    value = FeatureName(word, bit, name)
    assert FeatureName.unpack(value.pack()) == value


snapshots = st.builds(
    SnapshotRecord,
    l1_table_offset=u64,
    l1_size=u32,
    id=st.binary(max_size=20),
    name=st.binary(max_size=40),
    date_seconds=u32,
    date_nanoseconds=u32,
    vm_clock_nanoseconds=u64,
    vm_state_size_32=u32,
    extra_data=st.binary(max_size=60),
)


@given(st.lists(snapshots, max_size=4))
def test_snapshot_table(records: list[SnapshotRecord]) -> None:
    table = pack_snapshot_table(records)
    position, found = 0, []
    for _ in records:
        assert position % 8 == 0
        record, position = unpack_snapshot(memoryview(table), position)
        found.append(record)
    assert found == records
    assert position == len(table)
    assert pack_snapshot_table(found) == table


@given(st.binary(max_size=200), st.integers(0, 250))
def test_random_snapshot_records(data: bytes, position: int) -> None:
    record, following = unpack_snapshot(data, position)
    assert following == position + (record.length + 7) // 8 * 8
    assert len(record.extra_data) <= max(1024, len(data))
    assert all("\n" not in broken.message for broken in snapshot_record_rules(record, SMALL))


bitmaps = st.builds(
    BitmapDirectoryEntry,
    table_offset=u64,
    table_size=u32,
    flags=u32,
    type=u8,
    granularity_bits=u8,
    extra_data=st.binary(max_size=20),
    name=st.binary(max_size=40),
)


@given(st.lists(bitmaps, max_size=4))
def test_bitmap_directory(entries: list[BitmapDirectoryEntry]) -> None:
    directory = b"".join(entry.pack() for entry in entries)
    position = 0
    for entry in entries:
        found, following = unpack_bitmap_entry(directory, position)
        assert found == entry
        assert following - position == entry.length
        assert found.pack() == directory[position:following]
        position = following
    assert position == len(directory)


@given(bitmaps, cluster_bits, u64)
def test_bitmap_rules_stand_every_entry(entry: BitmapDirectoryEntry, bits: int, size: int) -> None:
    found = bitmap_entry_rules(entry, Geometry(bits), size)
    assert all("\n" not in broken.message for broken in found)


@given(u64, u64)
def test_mapping_entries(raw: int, bitmap: int) -> None:
    assert L1Entry.unpack(L1Entry(raw).pack()) == L1Entry(raw)
    assert L2Entry.unpack(L2Entry(raw).pack()) == L2Entry(raw)
    extended = L2Entry(raw, bitmap)
    assert L2Entry.unpack(extended.pack(extended_l2=True), extended_l2=True) == extended


@given(st.integers(0, 2**62 - 1), cluster_bits)
def test_compressed_descriptor(payload: int, bits: int) -> None:
    descriptor = CompressedDescriptor.unpack(payload | 1 << 62, bits)
    assert descriptor.pack(bits) == payload | 1 << 62
    assert (descriptor.offset + descriptor.length) % 512 == 0
    assert 0 < descriptor.length <= 2 << bits
    assert 1 <= len(descriptor.host_clusters(bits)) <= (2 if bits == 9 else 3)


@given(orders, st.binary(min_size=64, max_size=64))
def test_refcount_block(order: int, block: bytes) -> None:
    assert pack_refcounts(unpack_refcounts(block, order), order) == block


@given(orders, st.binary(min_size=64, max_size=64), st.data())
def test_setting_one_refcount_leaves_the_others(
    order: int, block: bytes, data: st.DataObject
) -> None:
    index = data.draw(st.integers(0, (512 >> order) - 1))
    value = data.draw(st.integers(0, 2 ** (2**order) - 1))
    expected = unpack_refcounts(block, order)
    expected[index] = value
    changed = bytearray(block)
    set_refcount(changed, index, order, value)
    assert unpack_refcounts(changed, order) == expected
    assert get_refcount(changed, index, order) == value


@given(cluster_bits, st.booleans(), st.integers(0, 2**63 - 1))
def test_guest_offsets(bits: int, extended_l2: bool, offset: int) -> None:
    geometry = Geometry(bits, extended_l2=extended_l2)
    l1_index, l2_index = geometry.guest_indices(offset)
    assert 0 <= l2_index < geometry.l2_entries
    start = geometry.guest_offset(l1_index, l2_index)
    assert geometry.is_aligned(start)
    assert 0 <= offset - start < geometry.cluster_size
