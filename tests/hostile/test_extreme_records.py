"""As many snapshots and bitmaps as there can be, as long as they can be, all in one place."""

import struct
from pathlib import Path

import numpy as np
import pytest

from tests.hostile.raw_image import (
    BITMAPS_EXTENSION,
    COPIED,
    CRYPTO_EXTENSION,
    MOST_BITMAPS,
    MOST_L1_ENTRIES,
    MOST_SNAPSHOTS,
    RawImage,
    bitmap_record,
    refcounted_image,
    snapshot_record,
)
from tests.hostile.running import check

MIB, GIB, TIB = 1 << 20, 1 << 30, 1 << 40
CLUSTER = 1 << 16
TABLE = 96 * MIB

# 65,536 records, and what is said about each of them.
RECORDS_MEMORY = 400


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "disk.qcow2"


def image_with_snapshots(path: Path, records: bytes, number: int, cluster_bits: int) -> RawImage:
    fields = {"cluster_bits": cluster_bits, "nb_snapshots": number, "snapshots_offset": TABLE}
    image = refcounted_image(path, 192 * MIB, **fields)
    image.write(TABLE, records)
    return image


def test_all_snapshots_have_the_same_whole_l1(path: Path) -> None:
    records = (
        snapshot_record(MIB, MOST_L1_ENTRIES, str(i).encode()) for i in range(MOST_SNAPSHOTS)
    )
    with image_with_snapshots(path, b"".join(records), MOST_SNAPSHOTS, 16) as image:
        image.table(MIB, np.full(MOST_L1_ENTRIES, COPIED | (5 * CLUSTER), dtype=np.uint64))
    found = check(path, "--json", most=1000)
    assert len(found.document["tables"]["trees"]) == MOST_SNAPSHOTS + 1
    assert all(t["l1"]["entries"] for t in found.document["tables"]["trees"])
    # Each snapshot claims the whole of the L1 table; far more than a refcount holds.
    assert found.document["kinds"]["refcount.low"]["places"] >= 512


def test_all_snapshots_have_another_l1_and_all_of_these_overlap(path: Path) -> None:
    records = (
        snapshot_record(MIB + 512 * i, MOST_L1_ENTRIES, str(i).encode())
        for i in range(MOST_SNAPSHOTS)
    )
    with image_with_snapshots(path, b"".join(records), MOST_SNAPSHOTS, 9) as image:
        image.table(MIB, np.full(2 * MOST_L1_ENTRIES, 5 * 512, dtype=np.uint64))
    # 64 MiB of L1 entries, and what is worked out for each of them.
    found = check(path, "--json", most=1800)
    assert "cluster.shared" in found.codes


def test_overlapping_l1_tables_lead_to_every_l2_table_there_can_be(path: Path) -> None:
    number = 1 << 19
    records = (
        snapshot_record(MIB + 512 * i, number, str(i).encode()) for i in range(MOST_SNAPSHOTS)
    )
    with image_with_snapshots(path, b"".join(records), MOST_SNAPSHOTS, 9) as image:
        clusters = np.random.default_rng(1).integers(1, 190_000, 2 * number, dtype=np.uint64)
        image.table(MIB, clusters * np.uint64(512))
    assert "cluster.shared" in check(path, "--json", most=1000).codes


@pytest.mark.parametrize("fill", [b"\x1b[2J", b"\xff", "\u202e".encode()])
def test_snapshots_with_names_that_fill_the_table(path: Path, fill: bytes) -> None:
    """The table may have 64 MiB, and a name 65,535 bytes."""
    name = (fill * 65_535)[:65_535]
    record = snapshot_record(3 * CLUSTER, 1, name, name)
    with image_with_snapshots(path, record * 500, MOST_SNAPSHOTS, 16):
        pass
    found = check(path, "--errors", most=600)
    assert len(found.stdout) < MIB
    assert found.stdout.replace("\n", "").isprintable()
    found = check(path, "--json", most=2000)
    assert len(found.document["snapshots"]) >= 500
    trees = {label for f in found.document["findings"] for label in f["trees"]["first"]}
    assert max(map(len, trees)) <= 128


def test_snapshots_with_more_extra_data_than_there_is_file(path: Path) -> None:
    record = snapshot_record(3 * CLUSTER, 1, extra_size=2**32 - 1)
    with image_with_snapshots(path, record * 100, 100, 16):
        pass
    # A record that ends past the limit of the table takes those behind it along.
    found = check(path, "--json", most=RECORDS_MEMORY)
    assert "snapshot.table" in found.codes
    assert found.document["snapshots"] == []


def test_more_snapshots_than_the_format_allows(path: Path) -> None:
    with image_with_snapshots(path, b"", 2**32 - 1, 16):
        pass
    found = check(path, "--json", most=RECORDS_MEMORY)
    assert found.document["refusal"]
    assert len(found.document["snapshots"]) == MOST_SNAPSHOTS


def test_snapshots_without_sense(path: Path) -> None:
    records = (snapshot_record(0x123 + i, 2**32 - 1 - i, b"") for i in range(MOST_SNAPSHOTS))
    with image_with_snapshots(path, b"".join(records), MOST_SNAPSHOTS, 16):
        pass
    found = check(path, "--json", most=RECORDS_MEMORY)
    assert found.document["kinds"]["snapshot.l1-table"]["count"] == MOST_SNAPSHOTS


def image_with_bitmaps(path: Path, records: list[bytes], cluster_bits: int) -> RawImage:
    image = refcounted_image(
        path, 3 * GIB, cluster_bits=cluster_bits, autoclear_features=1, size=TIB
    )
    directory = b"".join(records)
    fields = struct.pack(">IIQQ", len(records), 0, len(directory), TABLE)
    image.extensions((BITMAPS_EXTENSION, fields))
    image.write(TABLE, directory)
    return image


@pytest.mark.parametrize("cluster_bits", [9, 16])
def test_all_bitmap_tables_overlap(path: Path, cluster_bits: int) -> None:
    records = [
        bitmap_record(MIB + ((i % 4096) << cluster_bits), 8192, str(i).encode())
        for i in range(MOST_BITMAPS)
    ]
    with image_with_bitmaps(path, records, cluster_bits) as image:
        image.table(MIB, np.full(4 << 20, 5 * CLUSTER, dtype=np.uint64))
    found = check(path, "--json", most=RECORDS_MEMORY)
    assert len(found.document["bitmaps"]) == MOST_BITMAPS
    assert "check.incomplete" not in found.codes


@pytest.mark.parametrize("entries", [134_217_728, 2**32 - 1])
def test_all_bitmap_tables_are_as_large_as_they_can_be(path: Path, entries: int) -> None:
    records = [bitmap_record(GIB, entries, str(i).encode()) for i in range(MOST_BITMAPS)]
    with image_with_bitmaps(path, records, 16):
        pass
    assert check(path, "--json", most=RECORDS_MEMORY).document["refusal"]


def test_bitmaps_that_are_not_valid_any_more_cost_no_more(path: Path) -> None:
    records = [bitmap_record(GIB, 134_217_728, str(i).encode()) for i in range(MOST_BITMAPS)]
    with image_with_bitmaps(path, records, 16) as image:
        image.write(88, bytes(8))  # autoclear_features
    assert "bitmap.not-valid" in check(path, "--json", most=RECORDS_MEMORY).codes


@pytest.mark.parametrize(
    ("offset", "length"),
    [(16 * CLUSTER, 2**63), (16 * CLUSTER, 2**64 - 1), (2**64 - CLUSTER, 1), (0, 32 * CLUSTER)],
)
def test_an_encryption_header_without_end(path: Path, offset: int, length: int) -> None:
    with refcounted_image(path, 64 * CLUSTER, crypt_method=2) as image:
        image.extensions((CRYPTO_EXTENSION, struct.pack(">QQ", offset, length)))
    assert check(path, "--json").document["status"]
