"""The classic header and snapshot list, in the line shapes that scripts read."""

import re
from pathlib import Path

import pytest

from qcow2_dump.ondisk.header import HEADER_FIELDS
from qcow2_dump.report.classic_header import header_field_rows, header_lines, snapshot_lines
from tests.builder.build import build
from tests.builder.spec import ImageSpec, SnapshotSpec
from tests.builder.std import std_image
from tests.report.test_info_text import SPECIAL, info_of

STANDARD = """\
magic: 0x514649fb
version: 3
backing_file_offset: 0x0
backing_file_size: 0
backing_file: \n\
fs_type: ext4
virtual_size: 67108864 / 64M / 0G
disk_size: 262144 / 0M / 0G
seek_end: 524288 [0x80000] / 0M / 0G
cluster_bits: 16
cluster_size: 65536
crypt_method: 0
csize_shift: 54
csize_mask: 255
cluster_offset_mask: 0x3fffffffffffff
l1_table_offset: 0x30000
l1_size: 1
l1_vm_state_index: 1
l2_size: 8192
refcount_order: 4
refcount_bits: 16
refcount_block_bits: 15
refcount_block_size: 32768
refcount_table_offset: 0x10000
refcount_table_clusters: 1
snapshots_offset: 0x0
nb_snapshots: 0
incompatible_features: 00000000
compatible_features: 00000000
autoclear_features: 00000000
"""

FIELDS = """\
magic 0x0 [4 bytes]
version 0x4 [4 bytes]
backing_file_offset 0x8 [8 bytes]
backing_file_size 0x10 [4 bytes]
cluster_bits 0x14 [4 bytes]
size 0x18 [8 bytes]
crypt_method 0x20 [4 bytes]
l1_size 0x24 [4 bytes]
l1_table_offset 0x28 [8 bytes]
refcount_table_offset 0x30 [8 bytes]
refcount_table_clusters 0x38 [4 bytes]
nb_snapshots 0x3c [4 bytes]
snapshots_offset 0x40 [8 bytes]
incompatible_features 0x48 [8 bytes]
compatible_features 0x50 [8 bytes]
autoclear_features 0x58 [8 bytes]
refcount_order 0x60 [4 bytes]
header_length 0x64 [4 bytes]
compression_type 0x68 [1 bytes]
padding 0x69 [7 bytes]
"""


def classic(spec: ImageSpec) -> dict[str, str]:
    """The header lines of an image as a script splits them."""
    return dict(line.split(": ", 1) for line in header_lines(info_of(build(spec))))


def test_the_standard_image() -> None:
    lines = "".join(line + "\n" for line in header_lines(info_of(std_image())))
    assert lines == STANDARD + "compression_type: zlib\n"


def test_version_2_ends_with_the_feature_words() -> None:
    *_, last = header_lines(info_of(build(ImageSpec(version=2))))
    assert last == "autoclear_features: 00000000"


def test_newer_images_have_more_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    found = classic(SPECIAL)
    assert found["backing_file"] == "base.raw"
    assert found["crypt_method"] == "2"
    assert found["incompatible_features"] == "00011011"
    # Only the eight lowest digits, whatever else is set.
    assert found["compatible_features"] == "00000001"
    assert found["autoclear_features"] == "00000001"
    assert list(found.items())[-6:] == [
        ("compression_type", "zstd"),
        ("subclusters", "32"),
        ("subcluster_size", "2048"),
        ("bitmap_directory_offset", "0xa0000"),
        ("bitmap_directory_size", "64"),
        ("nb_bitmaps", "2"),
    ]
    found = classic(ImageSpec(data_file="disk.raw", autoclear=2))
    assert list(found.items())[-2:] == [("data_file", "disk.raw"), ("data_file_raw", "yes")]


@pytest.mark.parametrize(("bits", "order"), [(9, 0), (9, 6), (12, 4), (21, 6)])
def test_derived_numbers_fit_together(bits: int, order: int) -> None:
    found = classic(ImageSpec(cluster_bits=bits, refcount_order=order, virtual_size=1 << 20))
    assert int(found["cluster_size"]) == 1 << bits
    assert int(found["l2_size"]) == (1 << bits) // 8
    assert int(found["refcount_block_size"]) == (8 << bits) >> order
    assert 1 << int(found["refcount_block_bits"]) == int(found["refcount_block_size"])
    shift = int(found["csize_shift"])
    assert int(found["cluster_offset_mask"], 16) == (1 << shift) - 1
    # Bits 0 to 61 are the offset and the sectors.
    assert int(found["csize_mask"]).bit_length() + shift == 62


def test_the_snapshot_list() -> None:
    snapshots = (
        SnapshotSpec("1", "monday"),
        SnapshotSpec("7", "a b", vm_state_size=5, date_sec=1709210096, vm_clock_nsec=10**9),
    )
    info = info_of(std_image(snapshots=snapshots))
    offsets = [entry.record.l1_table_offset for entry in info.snapshots]
    assert (
        "".join(line + "\n" for line in snapshot_lines(info.snapshots))
        == f"""\
snapshot[0]:\tl1_table_offset: {offsets[0]:#x}, l1_size: 1
\tid: 1, name: monday, date: 2023-11-14 22:13:20 UTC, vm_state_size: 0, \
vm_clock: 00:00:00.000, disk_size: 67108864, icount: 0
snapshot[1]:\tl1_table_offset: {offsets[1]:#x}, l1_size: 1
\tid: 7, name: a b, date: 2024-02-29 12:34:56 UTC, vm_state_size: 5, \
vm_clock: 00:00:01.000, disk_size: 67108864, icount: 0
"""
    )


def test_every_field_of_the_header() -> None:
    rows = list(header_field_rows())
    assert "".join(row + "\n" for row in rows) == FIELDS
    found = [re.fullmatch(r"(\w+) (0x[0-9a-f]+) \[(\d+) bytes\]", row) for row in rows]
    assert [match[1] for match in found if match][:-1] == [field.name for field in HEADER_FIELDS]
    # No gap and no overlap, from the first byte to the last known one.
    end = 0
    for match in found:
        assert match
        assert int(match[2], 16) == end
        end += int(match[3])
    assert end == 112


def test_a_name_too_long_to_bear_is_cut() -> None:
    info = info_of(std_image(snapshots=(SnapshotSpec("i" * 900, "n" * 60_000),)))
    _, line = snapshot_lines(info.snapshots)
    assert f"id: {'i' * 254}…, name: {'n' * 254}…, date" in line
