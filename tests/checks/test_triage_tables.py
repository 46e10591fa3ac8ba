"""Leak triage, rule (c): leaked clusters that read as tables, and those that only seem to."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from qcow2_dump import open_image
from qcow2_dump.checks.bitset import BitSet
from qcow2_dump.checks.checker import Checker
from qcow2_dump.checks.leaks import orphans
from tests.builder.build import build
from tests.builder.built import BuiltImage
from tests.builder.spec import Data, ImageSpec, SnapshotSpec
from tests.checks.leaky import (
    CLUSTER,
    COMPRESSED,
    COPIED,
    all_orphans,
    all_waste,
    checked,
    leak,
    leaks,
    small_image,
    table,
    verdicts,
)

MONDAY = SnapshotSpec("1", "monday")


def _lost_table(leading_to: int, others: int, **changes: object) -> BuiltImage:
    """A leaked table with so many entries that lead to leaks, and others that do not."""
    image = small_image(*range(40), **changes)
    lost = leaks(image, leading_to)
    used = [image.active.data[guest] // CLUSTER for guest in range(others)]
    leak(image, table([*lost, *used]))
    return image


@pytest.mark.parametrize(("leading_to", "others"), [(1, 0), (2, 1), (20, 19), (3, 0)])
def test_a_leak_that_leads_to_leaks_is_a_lost_table(
    leading_to: int, others: int, tmp_path: Path
) -> None:
    result = checked(_lost_table(leading_to, others), tmp_path)
    assert all_orphans(result)
    (finding,) = [f for f in result.findings if f.code == "leak.orphan-table"]
    assert finding.offset == (5 + 40 + leading_to) * CLUSTER
    assert "l2.wiped" not in result.tallies


@pytest.mark.parametrize(("leading_to", "others"), [(1, 1), (2, 3), (10, 10), (0, 9)])
def test_half_of_the_entries_are_not_enough(leading_to: int, others: int, tmp_path: Path) -> None:
    assert all_waste(checked(_lost_table(leading_to, others), tmp_path))


@pytest.mark.parametrize(("compatible", "kept"), [(1, True), (0, False)])
def test_lazy_refcounts_may_lag_behind(compatible: int, kept: bool, tmp_path: Path) -> None:
    """Most of what a lost table leads to was not counted yet when the machine died."""
    image = small_image(0, compatible=compatible)
    lost = leaks(image, 9)
    for cluster in lost[1:]:
        image.set_refcount(cluster, 0)
    leak(image, table(lost))
    assert (all_orphans if kept else all_waste)(checked(image, tmp_path))


def test_plain_zeros_in_a_lost_table_count_for_nothing(tmp_path: Path) -> None:
    image = small_image(0, 1)
    (lost,) = leaks(image, 1)
    leak(image, table([lost]) + (1).to_bytes(8, "big") * 99)
    assert all_orphans(checked(image, tmp_path))


def test_a_table_that_leads_to_overcounted_clusters_alone_is_none(tmp_path: Path) -> None:
    """QEMU leaves such a copy of an L1 table when it dies while it makes a snapshot."""
    image = small_image(0, 1, 2)
    used = [image.active.data[guest] // CLUSTER for guest in range(3)]
    for cluster in used:
        image.set_refcount(cluster, 2)
    leak(image, table(used))
    assert all_waste(checked(image, tmp_path))


def test_a_table_that_also_leads_to_overcounted_clusters_is_lost(tmp_path: Path) -> None:
    image = small_image(0, 1, 2)
    used = [image.active.data[guest] // CLUSTER for guest in range(3)]
    for cluster in used:
        image.set_refcount(cluster, 2)
    leak(image, table([*used, leak(image)]))
    result = checked(image, tmp_path)
    assert "leak.orphan-table" in result.tallies
    assert all_orphans(result)


@pytest.mark.parametrize(
    "entry",
    [COPIED | 2, COPIED | 1 << 57, COPIED | 0x200, COPIED | COMPRESSED],
    ids=["reserved", "reserved-high", "unaligned", "compressed-copied"],
)
def test_entries_against_the_rules_do_not_decode(entry: int, tmp_path: Path) -> None:
    image = small_image(0)
    lost = leaks(image, 3)
    words = [entry | cluster * CLUSTER for cluster in lost]
    leak(image, b"".join(word.to_bytes(8, "big") for word in words))
    assert all_waste(checked(image, tmp_path))


def test_compressed_entries_lead_to_leaks_as_well(tmp_path: Path) -> None:
    image = small_image(0)
    words = [COMPRESSED | cluster * CLUSTER + 77 for cluster in leaks(image, 3)]
    leak(image, b"".join(word.to_bytes(8, "big") for word in words))
    assert "leak.orphan-table" in checked(image, tmp_path).tallies


def test_a_lost_table_may_begin_with_zeros(tmp_path: Path) -> None:
    """The first 4 KiB hold no entry: the rest of the cluster is looked at."""
    image = build(ImageSpec(virtual_size=1 << 30, content={0: Data(1)}))
    size = image.spec.cluster_size
    lost = leak(image)
    leak(image, bytes(40000) + table([lost], size))
    result = checked(image, tmp_path)
    assert "leak.orphan-table" in result.tallies
    assert all_orphans(result)


def test_extended_entries_of_a_lost_table(tmp_path: Path) -> None:
    spec = ImageSpec(cluster_bits=14, extended_l2=True, content={0: Data(1)})
    image = build(spec)
    lost = [leak(image) for _ in range(3)]
    bitmap = bytes(4) + b"\xff" * 4
    leak(image, b"".join((COPIED | cluster << 14).to_bytes(8, "big") + bitmap for cluster in lost))
    assert "leak.orphan-table" in checked(image, tmp_path).tallies


def test_a_lost_table_of_a_data_file(tmp_path: Path) -> None:
    """Its entries lead to no host cluster, but each to its own guest offset."""
    image = small_image(0, data_file="disk.raw")
    start = 512 * CLUSTER
    leak(image, b"".join((COPIED | start + i * CLUSTER).to_bytes(8, "big") for i in range(3)))
    assert "leak.orphan-table" in checked(image, tmp_path).tallies


def test_other_offsets_make_no_table_of_a_data_file(tmp_path: Path) -> None:
    image = small_image(0, data_file="disk.raw")
    leak(image, b"".join((COPIED | (7 + 2 * i) * CLUSTER).to_bytes(8, "big") for i in range(3)))
    assert all_waste(checked(image, tmp_path))


def test_a_lost_table_that_differs_little_from_another(tmp_path: Path) -> None:
    """The L1 entry was overwritten with a snapshot's, which has most of the clusters as well."""
    image = small_image(*range(9), snapshots=(SnapshotSpec("1", "one", content={9: Data(3)}),))
    image.set_l1(0, image.snapshots[0].l2[0])
    leak(image)
    shared = [image.active.data[guest] // CLUSTER for guest in range(9)]
    image.data.write(image.active.l2[0], table([*shared, leak(image)]))
    result = checked(image, tmp_path)
    assert "leak.orphan-table" in result.tallies
    assert all_orphans(result)


def test_half_a_table_of_leaks_beside_a_snapshot(tmp_path: Path) -> None:
    """The other half leads to clusters that only the active layer has: no other tree's table."""
    own = SnapshotSpec("1", "one", content={50: Data(3)}, shared=frozenset())
    assert all_waste(checked(_lost_table(5, 5, snapshots=(own,)), tmp_path))


def test_a_copy_of_an_l1_table_is_no_lost_table(tmp_path: Path) -> None:
    """QEMU died while it made a second snapshot: all that it shares is counted once too often."""
    image = small_image(0, 600, snapshots=(MONDAY,))
    tables = [offset // CLUSTER for offset in image.active.l2.values()]
    data = [offset // CLUSTER for offset in image.active.data.values()]
    for cluster in [*tables, *data]:
        image.set_refcount(cluster, 3)
    leak(image, table(tables))
    assert all_waste(checked(image, tmp_path))


def test_a_copy_of_a_shared_table_is_no_lost_one(tmp_path: Path) -> None:
    """QEMU died before it linked the copy that it had made of a table."""
    image = small_image(*range(9), snapshots=(MONDAY,))
    leak(image, table([image.active.data[guest] // CLUSTER for guest in range(9)]))
    leak(image)
    assert all_waste(checked(image, tmp_path))


def test_a_table_behind_the_end_of_a_short_one(tmp_path: Path) -> None:
    """The header points to an L2 table as its L1 table: what lies behind its few entries tells."""
    image = small_image(*range(10, 40))
    image.poke(40, image.active.l2[0])
    result = checked(image, tmp_path)
    assert "leak.orphan-table" not in result.tallies
    assert all_orphans(result)


def test_noise_behind_the_end_of_a_short_table_is_nothing(tmp_path: Path) -> None:
    image = small_image(0)
    image.data.write(image.active.l1 + 64, b"left by something else" * 9)
    leak(image)
    assert all_waste(checked(image, tmp_path))


def test_candidates_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was not looked at is kept; of what was, what it is decides. Holes cost nothing."""
    assert orphans.MOST_CANDIDATES == 65536
    monkeypatch.setattr(orphans, "MOST_CANDIDATES", 3)
    image = small_image(0)
    seen = leaks(image, 2)
    hole = leak(image, 0)
    seen += leaks(image, 1)
    unseen = [*leaks(image, 2)]
    last_hole = leak(image, 0)
    result = checked(image, tmp_path)
    expected = dict.fromkeys([*seen, hole, last_hole], "waste") | dict.fromkeys(unseen, "orphan")
    assert verdicts(result) == expected
    assert result.triage.reasons == ("2 leaked clusters were too many to look into",)


def test_leaks_in_large_holes_are_judged_without_a_look(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Leaks of which each stretch lies in one hole, beside some with data and some left out."""
    image = small_image(*range(10))
    lost = [leak(image, 0x77 if at % 100 == 50 else 0) for at in range(400)]
    blank = [cluster for at, cluster in enumerate(lost) if at % 100 != 50 and at != 210]
    with open_image(image.write_to(tmp_path / "image.qcow2")) as opened:
        checker = Checker(opened)
        for step in checker.run():
            assert step.total
        left_out = BitSet(checker.leaks.unreferenced.size)
        left_out.add(np.array([lost[210]]))
        for stretch, looks in ((1 << 16, 1), (64, 6)):
            monkeypatch.setattr(orphans, "_STRETCH", stretch)
            looked: list[int] = []
            looked_at = orphans._Look.into
            with monkeypatch.context() as patch:
                patch.setattr(
                    orphans._Look,
                    "into",
                    lambda self, clusters: (looked.append(1), looked_at(self, clusters)),  # noqa: B023
                )
                found = orphans.examine_leaks(checker.facts, checker.leaks, left_out)
            assert found.blank.first(1000).tolist() == blank
            assert not found.tables
            assert len(looked) == looks
