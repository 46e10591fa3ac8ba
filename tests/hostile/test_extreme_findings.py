"""More findings than anybody reads, owners without number, streams that unpack to a great deal."""

import zlib
from pathlib import Path

import numpy as np
import pytest
import zstandard

from tests.hostile.raw_image import COMPRESSED, COPIED, RawImage, refcounted_image
from tests.hostile.running import check

MIB, GIB = 1 << 20, 1 << 30
CLUSTER = 1 << 16
TABLES = 600
ENTRIES = CLUSTER // 8
FIRST_TABLE = 8 * CLUSTER


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "disk.qcow2"


def write_tables(path: Path, entry: int, *, cluster_bits: int = 16, tables: int = TABLES) -> None:
    """An image with L2 tables that are full of one entry."""
    size = 1 << cluster_bits
    places = (np.arange(tables, dtype=np.uint64) << np.uint64(cluster_bits)) + np.uint64(
        FIRST_TABLE
    )
    fields = {"cluster_bits": cluster_bits, "l1_size": tables, "l1_table_offset": 64 * MIB}
    span = tables << (2 * cluster_bits - 3)
    with refcounted_image(path, 96 * MIB, size=span, **fields) as image:
        image.table(64 * MIB, np.uint64(COPIED) | places)
        image.table(FIRST_TABLE, np.full(tables * size // 8, entry, dtype=np.uint64))


@pytest.mark.parametrize("wanted", [0, 10, 1000])
@pytest.mark.parametrize("cluster_bits", [9, 16])
def test_millions_of_findings(path: Path, wanted: int, cluster_bits: int) -> None:
    tables = TABLES << (16 - cluster_bits) if cluster_bits > 9 else 60_000
    write_tables(path, 0x0123456789ABCDEF, cluster_bits=cluster_bits, tables=tables)
    found = check(path, "--json", "--max-findings", str(wanted), most=200)
    kinds = found.document["kinds"]
    assert kinds["l2.reserved"]["places"] == tables << (cluster_bits - 3)
    listed = found.document["findings"]
    assert len(listed) == wanted
    places = sum(kind["places"] for kind in kinds.values())
    assert found.document["findings_omitted"] == places - wanted


def test_as_many_findings_as_are_asked_for(path: Path) -> None:
    write_tables(path, 2, tables=20)
    found = check(path, "--json", "--max-findings", "1000000", most=1500)
    assert found.document["kinds"]["l2.reserved"]["places"] == 20 * ENTRIES
    assert len(found.document["findings"]) > 20 * ENTRIES
    assert found.document["findings_omitted"] == 0


@pytest.mark.parametrize("wanted", ["10", "1000000"])
def test_millions_of_owners_of_one_cluster(path: Path, wanted: str) -> None:
    write_tables(path, COPIED | (5 * CLUSTER))
    found = check(path, "--json", "--max-findings", wanted, most=300)
    (shared,) = [f for f in found.document["findings"] if f["code"] == "cluster.shared"]
    assert shared["cluster"] == 5
    assert len(shared["claimants"]) == 64
    # Counted in full, but told apart only so far: the message says so.
    assert f"{TABLES * ENTRIES} references" in shared["message"]
    assert f"at least {shared['claimants_total']:,} owners" in shared["message"]


@pytest.mark.parametrize("wanted", ["10", "1000000"])
def test_many_owners_of_many_clusters(path: Path, wanted: str) -> None:
    """Tables that map the same clusters in the same order."""
    entries = COPIED | (np.arange(ENTRIES, dtype=np.uint64) + np.uint64(1)) << np.uint64(16)
    with refcounted_image(path, GIB, l1_size=20, size=20 << 29) as image:
        places = FIRST_TABLE + np.arange(20, dtype=np.uint64) * np.uint64(CLUSTER)
        image.table(3 * CLUSTER, np.uint64(COPIED) | places)
        image.table(FIRST_TABLE, np.tile(entries, 20))
    found = check(path, "--json", "--max-findings", wanted, most=1500)
    assert found.document["kinds"]["cluster.shared"]["places"] == ENTRIES
    shared = [f for f in found.document["findings"] if f["code"] == "cluster.shared"]
    assert all(f["claimants_total"] > 1 for f in shared)
    if wanted == "1000000":
        assert len(shared) == ENTRIES


def deflate_bomb() -> bytes:
    engine = zlib.compressobj(9, zlib.DEFLATED, -15)
    return engine.compress(bytes(GIB)) + engine.flush()


def zstd_bomb() -> bytes:
    return zstandard.ZstdCompressor().compress(bytes(GIB))


def zstd_with_a_large_window() -> bytes:
    parameters = zstandard.ZstdCompressionParameters(window_log=27)
    engine = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    return engine.compress(bytes(GIB)) + engine.flush()


def zstd_of_empty_frames() -> bytes:
    return zstandard.ZstdCompressor().compress(b"") * 200_000


def image_of_streams(path: Path, stream: bytes, compression_type: int) -> RawImage:
    """An image of 2 MiB clusters with a stream in the sixth."""
    size = 1 << 21
    image = refcounted_image(
        path,
        6 * size,
        cluster_bits=21,
        l1_size=40,
        size=40 << 39,
        compression_type=compression_type,
        incompatible_features=8 * compression_type,
    )
    image.table(3 * size, np.full(40, COPIED | (4 * size), dtype=np.uint64))
    image.write(5 * size, stream)
    return image


def descriptor(offset: int, length: int) -> int:
    return COMPRESSED | min(8191, length >> 9) << 49 | offset


@pytest.mark.parametrize(
    ("make", "compression_type"),
    [(deflate_bomb, 0), (zstd_bomb, 1), (zstd_with_a_large_window, 1), (zstd_of_empty_frames, 1)],
)
def test_every_entry_points_to_one_stream(path: Path, make: object, compression_type: int) -> None:
    assert callable(make)
    stream = make()
    with image_of_streams(path, stream, compression_type) as image:
        entry = descriptor(5 << 21, len(stream))
        image.table(4 << 21, np.full(1 << 18, entry, dtype=np.uint64))
    found = check(path, "--deep", "--json", most=250)
    assert found.document["totals"]["compressed-clusters"] == 40 << 18
    broken = "l2.stream" in found.codes
    assert broken == (make is zstd_of_empty_frames)


def test_every_entry_points_into_one_stream_at_another_place(path: Path) -> None:
    stream = deflate_bomb()
    with image_of_streams(path, stream, 0) as image:
        image.write(4 << 21, bytes(1 << 21))
        places = np.arange(1 << 18, dtype=np.uint64)
        image.table(4 << 21, np.uint64(descriptor(5 << 21, len(stream))) + places)
    assert "check.incomplete" in check(path, "--deep", "--json", most=250).codes
