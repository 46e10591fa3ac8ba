"""Generated images are judged by qemu-img: sound ones are clean, planted damage is counted."""

import json
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.floor import read_metadata
from benchmarks.generate import generate, main
from benchmarks.layout import Layout
from benchmarks.permutation import Permutation
from benchmarks.spec import CASES, CLUSTER_SIZE, ImageSpec, Order, curve_up_to, image_of, spec_of

MIB = 1 << 20
GIB = 1 << 30
# Two L2 tables and a bit: the last table is not full, and no run of 64 ends at the last cluster.
SIZE = GIB + 5 * CLUSTER_SIZE


def qemu_check(image: Path) -> tuple[int, dict[str, Any]]:
    """Exit status and report of `qemu-img check`."""
    done = subprocess.run(
        ["qemu-img", "check", "--output=json", image], capture_output=True, check=False, timeout=60
    )
    return done.returncode, json.loads(done.stdout)


@pytest.mark.parametrize("case", sorted({image_of(case) for case in CASES} - {"D-damaged"}))
def test_every_case_is_clean(case: str, tmp_path: Path) -> None:
    image = tmp_path / "image.qcow2"
    spec = spec_of(case, SIZE)
    generate(image, spec)
    status, report = qemu_check(image)
    assert status == 0
    assert report["check-errors"] == 0
    assert report["total-clusters"] == report["allocated-clusters"] == spec.data_clusters
    assert report["image-end-offset"] == image.stat().st_size


@pytest.mark.parametrize("size", [CLUSTER_SIZE, 512 * MIB, 3 * GIB])
@pytest.mark.parametrize("order", Order)
def test_any_size_and_order_is_clean(size: int, order: Order, tmp_path: Path) -> None:
    image = tmp_path / "image.qcow2"
    generate(image, ImageSpec(size, order, snapshots=3, own_share=0.5, seed=size))
    assert qemu_check(image)[0] == 0


@pytest.mark.parametrize("snapshots", [0, 1, 2])
@pytest.mark.parametrize(("leaks", "errors"), [(1, 0), (0, 1), (700, 900)])
def test_planted_damage_is_counted(leaks: int, errors: int, snapshots: int, tmp_path: Path) -> None:
    image = tmp_path / "image.qcow2"
    spec = ImageSpec(SIZE, Order.RUNS, snapshots, 0.5, leaks, errors)
    generate(image, spec)
    status, report = qemu_check(image)
    assert status == (2 if errors else 3)
    assert report.get("leaks", 0) == leaks
    assert report.get("corruptions", 0) == errors
    assert report["check-errors"] == 0


def test_the_damaged_case_plants_in_proportion() -> None:
    full = spec_of("D-damaged", 2 << 40)
    assert (full.leaks, full.errors) == (1_000_000, 1_000_000)
    assert spec_of("D-damaged", 64 * GIB).leaks == 31_250


def test_snapshots_share_what_they_do_not_own(tmp_path: Path) -> None:
    spec = ImageSpec(8 * GIB, Order.RUNS, snapshots=4, own_share=0.25)
    layout = Layout(spec)
    assert [len(own) for own in layout.own_tables] == [4] * 4
    # Header, refcounts, L1s and the snapshot table; then 16 active and 16 own L2 tables.
    assert layout.total == layout.own_start(0) + 16 + 16 + spec.data_clusters


@pytest.mark.parametrize("order", [Order.RANDOM, Order.RUNS])
def test_data_clusters_share_no_host_cluster(order: Order) -> None:
    spec = ImageSpec(SIZE, order)
    layout = Layout(spec)
    hosts = layout.data_hosts(np.arange(spec.data_clusters, dtype=np.uint64))
    first = layout.body + spec.l2_tables
    assert np.array_equal(np.sort(hosts), np.arange(first, layout.total, dtype=np.uint64))


def test_the_orders_differ_in_how_far_apart_neighbours_are() -> None:
    neighbours = {}
    for order in Order:
        spec = ImageSpec(4 * GIB, order)
        hosts = Layout(spec).data_hosts(np.arange(spec.data_clusters, dtype=np.uint64))
        steps = np.diff(hosts.astype(np.int64))
        neighbours[order] = float(np.mean(steps == 1))
    assert neighbours[Order.PREALLOCATED] > 0.999
    assert neighbours[Order.RUNS] == pytest.approx(63 / 64, abs=0.001)
    assert neighbours[Order.RANDOM] < 0.001


@pytest.mark.parametrize("length", [1, 2, 3, 5, 64, 1000, 4097])
def test_a_permutation_is_one(length: int) -> None:
    order = Permutation(length, seed=7)(np.arange(length, dtype=np.uint64))
    assert sorted(order.tolist()) == list(range(length))


def test_another_seed_is_another_order() -> None:
    indices = np.arange(1000, dtype=np.uint64)
    assert not np.array_equal(Permutation(1000, 1)(indices), Permutation(1000, 2)(indices))


@pytest.mark.parametrize(
    "wrong",
    [
        {"size": 0},
        {"size": 1000, "cluster_size": 1000},
        {"size": CLUSTER_SIZE + 1},
        {"size": CLUSTER_SIZE, "snapshots": 65535},
        {"size": CLUSTER_SIZE, "own_share": 1.5},
        {"size": CLUSTER_SIZE, "leaks": 1, "errors": 1},
    ],
)
def test_an_impossible_spec_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"size|snapshots|own_share|planted"):
        ImageSpec(**wrong)


def test_the_file_is_sparse(tmp_path: Path) -> None:
    image = tmp_path / "image.qcow2"
    generate(image, ImageSpec(64 * GIB))
    assert image.stat().st_size > 64 * GIB
    # 128 L2 tables and 33 refcount blocks of 64 KiB, and the few front clusters.
    assert image.stat().st_blocks * 512 < 180 * CLUSTER_SIZE


def test_the_floor_reads_all_metadata_once(tmp_path: Path) -> None:
    image = tmp_path / "image.qcow2"
    spec = ImageSpec(16 * GIB, Order.RUNS, snapshots=3, own_share=0.25)
    generate(image, spec)
    layout = Layout(spec)
    l1_bytes = 4 * spec.l2_tables * 8
    l2_tables = spec.l2_tables + sum(map(len, layout.own_tables))
    clusters = l2_tables + layout.refcount_blocks
    assert read_metadata(str(image)) == l1_bytes + clusters * CLUSTER_SIZE


@pytest.mark.parametrize(
    "fields",
    [
        {"size": 4 * MIB, "order": "runs", "cluster_size": 512},
        {"size": GIB, "order": "runs", "disk": 8 * GIB},
        {"size": 64 * MIB, "cluster_size": 4096, "snapshots": 2, "own_share": 0.5},
    ],
)
def test_other_clusters_and_larger_disks(fields: dict[str, Any], tmp_path: Path) -> None:
    image = tmp_path / "image.qcow2"
    main(["--spec", json.dumps(fields), str(image)])
    status, report = qemu_check(image)
    assert status == 0
    size, cluster_size = fields["size"], fields.get("cluster_size", CLUSTER_SIZE)
    assert report["allocated-clusters"] == size // cluster_size
    assert report["total-clusters"] == fields.get("disk", size) // cluster_size


def test_the_curve_ends_where_it_is_told_to() -> None:
    assert "1 TiB" in curve_up_to(64 * GIB)
    assert "8 TiB" not in curve_up_to(64 * GIB)
    assert "64 TiB, the first eighth mapped" in curve_up_to(2048 * GIB)
