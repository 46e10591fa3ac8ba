"""Reading and writing of the header, field by field."""

import struct

import pytest

from qcow2_dump.errors import FormatError, NotQcow2Error, UnsupportedError
from qcow2_dump.ondisk.constants import (
    AutoclearFeature,
    CompatibleFeature,
    IncompatibleFeature,
)
from qcow2_dump.ondisk.header import HEADER_FIELDS, Header
from tests.ondisk.samples import V2, V3, v3


def raw_v3(**changes: int) -> bytes:
    """A header written without the package's field table, every field with its own value."""
    fields = {
        "magic": 0x514649FB,
        "version": 3,
        "backing_file_offset": 0x180,
        "backing_file_size": 11,
        "cluster_bits": 16,
        "size": 64 << 20,
        "crypt_method": 1,
        "l1_size": 2,
        "l1_table_offset": 0x30000,
        "refcount_table_offset": 0x10000,
        "refcount_table_clusters": 4,
        "nb_snapshots": 5,
        "snapshots_offset": 0x50000,
        "incompatible_features": 0x18,
        "compatible_features": 1 << 40,
        "autoclear_features": 1 << 41,
        "refcount_order": 6,
        "header_length": 112,
        "compression_type": 1,
    } | changes
    return struct.pack(">IIQIIQIIQQIIQQQQIIB7x", *fields.values())


def test_every_field_is_read_from_its_place() -> None:
    header = Header.unpack(raw_v3())
    assert header.backing_file_offset == 0x180
    assert header.backing_file_size == 11
    assert header.size == 64 << 20
    assert header.crypt_method == 1
    assert (header.l1_size, header.l1_table_offset) == (2, 0x30000)
    assert (header.refcount_table_offset, header.refcount_table_clusters) == (0x10000, 4)
    assert (header.nb_snapshots, header.snapshots_offset) == (5, 0x50000)
    assert header.incompatible == (
        IncompatibleFeature.COMPRESSION_TYPE | IncompatibleFeature.EXTENDED_L2
    )
    assert header.compatible_features == 1 << 40
    assert header.unknown_autoclear == 1 << 41
    assert (header.refcount_order, header.header_length) == (6, 112)
    assert header.compression_type == 1
    assert header.padding == bytes(7)
    assert header.unknown == b""
    assert header.pack() == raw_v3()


def test_field_table_covers_the_header_without_gaps() -> None:
    position = 0
    for field in HEADER_FIELDS:
        assert field.offset == position, field.name
        position += field.width
    assert position == 105


def test_version_2_reads_its_defaults_not_the_bytes_behind_it() -> None:
    header = Header.unpack(raw_v3(version=2, incompatible_features=0xFF))
    assert not header.is_v3
    assert header.incompatible_features == 0
    assert header.compatible_features == 0
    assert header.autoclear_features == 0
    assert header.refcount_order == 4
    assert header.header_length == 72
    assert header.compression_type == 0
    assert not header.extended_l2
    assert header.pack() == raw_v3(version=2)[:72]


def test_compression_type_is_absent_with_104_bytes() -> None:
    header = Header.unpack(raw_v3(header_length=104))
    assert header.compression_type == 0
    assert header.padding == b""
    assert header.pack() == raw_v3(header_length=104)[:104]


def test_padding_reaches_as_far_as_the_header() -> None:
    header = Header.unpack(raw_v3(header_length=108)[:105] + b"abcdefg")
    assert header.padding == b"abc"
    assert len(header.pack()) == 108


def test_unknown_bytes_are_kept() -> None:
    data = raw_v3(header_length=120) + b"whatever" + b"not this"
    header = Header.unpack(data)
    assert header.unknown == b"whatever"
    assert header.pack() == data[:120]


def test_missing_bytes_read_as_zeros() -> None:
    header = Header.unpack(raw_v3()[:71])
    assert header.header_length == 0
    assert header.snapshots_offset == 0x50000
    assert Header.unpack(raw_v3(header_length=128) + b"x").unknown == b"x".ljust(16, b"\0")


@pytest.mark.parametrize("length", [0, 50, 103, 65537, 2**32 - 1])
def test_an_impossible_header_length_is_kept_and_read_as_104(length: int) -> None:
    data = raw_v3(header_length=length)
    header = Header.unpack(data)
    assert header.header_length == length
    assert header.stored_length == 104
    assert header.refcount_order == 6
    assert (header.compression_type, header.padding, header.unknown) == (0, b"", b"")
    assert header.pack() == data[:104]


def test_header_as_long_as_the_cluster() -> None:
    header = Header.unpack(raw_v3(cluster_bits=9, header_length=512))
    assert len(header.unknown) == 400


@pytest.mark.parametrize("data", [b"", bytes(512), b"QFI", b"QFI\xfa" + bytes(108)])
def test_no_magic(data: bytes) -> None:
    with pytest.raises(NotQcow2Error):
        Header.unpack(data)


@pytest.mark.parametrize("version", [0, 1, 4, 2**32 - 1])
def test_unknown_version(version: int) -> None:
    with pytest.raises(UnsupportedError):
        Header.unpack(raw_v3(version=version))


@pytest.mark.parametrize("bits", [0, 8, 22, 2**32 - 1])
def test_impossible_cluster_size(bits: int) -> None:
    with pytest.raises(FormatError):
        Header.unpack(raw_v3(cluster_bits=bits))


@pytest.mark.parametrize("bits", [9, 21])
def test_extreme_cluster_sizes(bits: int) -> None:
    assert Header.unpack(raw_v3(cluster_bits=bits)).cluster_size == 1 << bits


@pytest.mark.parametrize("bit", [5, 63])
def test_unknown_incompatible_feature(bit: int) -> None:
    with pytest.raises(UnsupportedError, match="unknown incompatible"):
        Header.unpack(raw_v3(incompatible_features=1 << bit))
    shown = Header.unpack(raw_v3(incompatible_features=1 << bit), any_feature=True)
    assert shown.unknown_incompatible == 1 << bit


def test_flags_keep_unknown_bits() -> None:
    header = v3(autoclear_features=1 | 1 << 62, compatible_features=1 | 1 << 40)
    assert AutoclearFeature.BITMAPS in header.autoclear
    assert header.unknown_autoclear == 1 << 62
    assert CompatibleFeature.LAZY_REFCOUNTS in header.compatible
    assert int(header.compatible) == 1 | 1 << 40
    assert v3(incompatible_features=1 << 9 | 1).unknown_incompatible == 1 << 9


def test_impossible_refcount_order_is_judged_as_16_bits() -> None:
    assert v3(refcount_order=7).geometry.refcount_bits == 16
    assert v3(refcount_order=6).geometry.refcount_bits == 64


def test_vm_state_starts_behind_the_disk() -> None:
    assert v3(size=512 << 20).vm_state_l1_index == 1
    assert v3(size=(512 << 20) + 1).vm_state_l1_index == 2


def test_pack_refuses_bytes_that_do_not_reach_to_header_length() -> None:
    with pytest.raises(ValueError, match="header_length asks for 120"):
        V3._replace(header_length=120).pack()


def test_data_file_and_samples() -> None:
    assert v3(incompatible_features=4).has_data_file
    assert not V3.has_data_file
    assert Header.unpack(V3.pack()) == V3
    assert Header.unpack(V2.pack()) == V2
