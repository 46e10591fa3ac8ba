"""Tables at the limits of the format, and tables that lead to each other, one by one.

Each is checked by the real command: it must come to a verdict in bounded time and memory.
"""

import sys
from pathlib import Path

import numpy as np
import pytest

from tests.hostile.raw_image import (
    COMPRESSED,
    COPIED,
    MOST_L1_ENTRIES,
    MOST_SNAPSHOTS,
    RawImage,
    refcounted_image,
)
from tests.hostile.running import Outcome, check, run

MIB, GIB, TIB = 1 << 20, 1 << 30, 1 << 40
CLUSTER = 1 << 16
BIG_L1 = {"l1_size": MOST_L1_ENTRIES, "l1_table_offset": MIB, "size": MOST_L1_ENTRIES << 29}
WHOLE_RT = {"refcount_table_offset": MIB, "refcount_table_clusters": 128}

# An L1 table of 32 MiB, and what is worked out for each of its entries.
L1_MEMORY = 1000


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "disk.qcow2"


@pytest.mark.parametrize("where", [5 * CLUSTER, MIB, 0, CLUSTER], ids=["l2", "itself", "0", "rt"])
def test_a_whole_l1_that_points_to_one_cluster(path: Path, where: int) -> None:
    with refcounted_image(path, 64 * MIB, **BIG_L1) as image:
        image.table(MIB, np.full(MOST_L1_ENTRIES, COPIED | where, dtype=np.uint64))
    found = check(path, "--json", most=L1_MEMORY)
    assert found.document["tables"]["trees"][0]["l1"]["entries"] == MOST_L1_ENTRIES
    assert found.document["totals"]["corruptions"]


@pytest.mark.parametrize("cluster_bits", [10, 16, 21])
def test_a_whole_l1_of_distinct_unaligned_offsets(path: Path, cluster_bits: int) -> None:
    fields = BIG_L1 | {"cluster_bits": cluster_bits, "l1_table_offset": 8 << 20, "size": MIB}
    with refcounted_image(path, 3 * GIB, **fields) as image:
        image.table(8 << 20, (np.arange(MOST_L1_ENTRIES, dtype=np.uint64) + 1) * 512)
    found = check(path, "--json", most=L1_MEMORY)
    assert {"l1.unaligned", "check.incomplete"} <= found.codes


def test_a_whole_l1_of_noise(path: Path) -> None:
    with refcounted_image(path, 64 * MIB, **BIG_L1) as image:
        noise = np.random.default_rng(1).integers(0, 2**64, MOST_L1_ENTRIES, dtype=np.uint64)
        image.table(MIB, noise)
    assert check(path, most=L1_MEMORY).stdout


def test_a_whole_l1_of_tables_in_the_holes_of_a_huge_file(path: Path) -> None:
    fields = BIG_L1 | {"cluster_bits": 21, "l1_table_offset": 8 << 20, "size": 1 << 62}
    with refcounted_image(path, 8 * TIB, **fields) as image:
        tables = np.arange(MOST_L1_ENTRIES, dtype=np.uint64) + np.uint64(20)
        image.table(8 << 20, tables << np.uint64(21))
    assert "l2.empty" in check(path, "--json", most=L1_MEMORY).codes


def test_every_table_is_one_cluster_that_points_to_itself(path: Path) -> None:
    places = dict.fromkeys(
        ("l1_table_offset", "refcount_table_offset", "snapshots_offset"), CLUSTER
    )
    sizes = {"l1_size": 8192, "refcount_table_clusters": 1, "nb_snapshots": MOST_SNAPSHOTS}
    with RawImage(path, 8 * CLUSTER, size=8192 << 29, **places, **sizes) as image:
        image.table(CLUSTER, np.full(8192, CLUSTER, dtype=np.uint64))
    assert "cluster.shared" in check(path, "--json", most=250).codes


def test_every_table_is_the_header(path: Path) -> None:
    sizes = {"l1_size": MOST_L1_ENTRIES, "refcount_table_clusters": 128}
    with RawImage(path, 64 * MIB, size=TIB, nb_snapshots=MOST_SNAPSHOTS, **sizes):
        pass
    assert "cluster.shared" in check(path, "--json", most=400).codes


@pytest.mark.parametrize("size", [2**63 - 1, 2**63, 2**64 - 1])
def test_a_virtual_size_without_end(path: Path, size: int) -> None:
    with refcounted_image(path, 64 * CLUSTER, size=size):
        pass
    found = check(path, "--json", "--statistics")
    assert found.document["header"]["size"] == size
    assert "header.virtual-size" in found.codes
    assert check(path, "--errors", "--statistics").status == found.status


@pytest.mark.parametrize("kind", [COPIED, COMPRESSED, 1, 0x1FE])
def test_the_largest_clusters_with_everything_pointing_at_one(path: Path, kind: int) -> None:
    big = 1 << 21
    with refcounted_image(path, 64 * big, cluster_bits=21, l1_size=1000, size=TIB) as image:
        image.table(3 * big, np.full(1000, COPIED | (4 * big), dtype=np.uint64))
        image.table(4 * big, np.full(big // 8, kind | (4 * big), dtype=np.uint64))
    found = check(path, "--json", most=200)
    assert {"cluster.shared", "refcount.overflow"} & found.codes


def test_the_smallest_clusters_in_a_tebibyte_are_too_many(path: Path) -> None:
    with refcounted_image(path, TIB, cluster_bits=9):
        pass
    found = run_check(path)
    assert found.status == 256 - 27  # EFBIG, at the number of clusters where QEMU gives up
    assert "2147483648 host clusters" in found.stderr


def test_the_smallest_clusters_in_just_less_than_a_tebibyte(path: Path) -> None:
    with refcounted_image(path, TIB - 1024, cluster_bits=9):
        pass
    # A counter of a byte for each cluster would be 2 GiB, if it were ever touched.
    assert check(path, most=400).stdout


def test_as_many_blocks_as_there_can_be_for_the_smallest_clusters(path: Path) -> None:
    table = {"refcount_table_offset": MIB, "refcount_table_clusters": 8 * MIB >> 9}
    fields = table | {"cluster_bits": 9, "refcount_order": 6}
    with refcounted_image(path, TIB - 1024, **fields) as image:
        image.table(MIB, np.full(1 << 20, 7 * 512, dtype=np.uint64))
        image.table(7 * 512, np.ones(64, dtype=np.uint64))
    # Counters of four bytes must be reserved, which a small machine may refuse.
    assert run_check(path, most=600).status in (6, 256 - 12)


@pytest.mark.parametrize("where", [2 * CLUSTER, MIB, 0, 0x200], ids=["block", "rt", "0", "odd"])
def test_a_whole_refcount_table_that_points_to_one_place(path: Path, where: int) -> None:
    with refcounted_image(path, TIB, **WHOLE_RT) as image:
        image.table(MIB, np.full(1 << 20, where, dtype=np.uint64))
    found = check(path, "--json", most=300)
    assert found.document["tables"]["refcount_table"]["entries"] == 1 << 20


def test_a_refcount_table_of_blocks_in_the_holes_of_a_huge_file(path: Path) -> None:
    fields = {"cluster_bits": 21, "refcount_table_offset": 2 << 21, "refcount_table_clusters": 4}
    with refcounted_image(path, 4 * TIB, **fields) as image:
        blocks = np.arange(1 << 20, dtype=np.uint64) + np.uint64(100)
        image.table(2 << 21, blocks << np.uint64(21))
    assert check(path, most=300).stdout


def test_a_refcount_table_of_unaligned_blocks(path: Path) -> None:
    with refcounted_image(path, TIB, **WHOLE_RT) as image:
        image.table(MIB, (np.arange(1 << 20, dtype=np.uint64) + 1) * 512)
    found = check(path, "--json", most=300)
    assert {"refcount.table-unaligned", "refcount.unreadable"} <= found.codes


@pytest.mark.parametrize(("order", "fill"), [(0, 0xFF), (0, 0), (6, 0xFF), (6, 0), (255, 0xFF)])
def test_the_narrowest_and_the_widest_refcounts(path: Path, order: int, fill: int) -> None:
    with refcounted_image(path, 64 * CLUSTER, refcount_order=order) as image:
        image.write(2 * CLUSTER, bytes([fill]) * CLUSTER)
    found = check(path, "--json")
    assert ("header.refcount-order" in found.codes) == (order > 6)
    assert found.document["totals"]["leaks" if fill else "corruptions"]


def test_l2_entries_that_point_to_every_block_past_the_end(path: Path) -> None:
    """Each entry's COPIED flag asks for a refcount in another block of a full table."""
    with refcounted_image(path, 128 * MIB, l1_size=64, size=64 << 29, **WHOLE_RT) as image:
        image.table(MIB, np.full(1 << 20, 2 * CLUSTER, dtype=np.uint64))
        image.table(3 * CLUSTER, (np.arange(64, dtype=np.uint64) + 1024) << np.uint64(16))
        far = np.random.default_rng(1).integers(1 << 12, 1 << 35, 64 * 8192, dtype=np.uint64)
        image.table(1024 * CLUSTER, far << np.uint64(16))
    assert "l2.beyond-end" in check(path, "--json", most=300).codes


def run_check(path: Path, *, most: int = 100) -> Outcome:
    """Check an image that need not get a verdict."""
    return run([sys.executable, "-m", "qcow2_dump", "check", str(path)], most=most)
