"""Leak triage, rules (d) and (e), and references that the active layer has lost."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.builder.build import build
from tests.builder.built import BuiltImage
from tests.builder.spec import Compressed, Data, ImageSpec, SnapshotSpec
from tests.checks.leaky import (
    CLUSTER,
    COPIED,
    all_orphans,
    all_waste,
    at,
    checked,
    leak,
    leaks,
    lose,
    small_image,
)

MONDAY = SnapshotSpec("1", "monday")


# -- (d) owners that exclude each other -----------------------------------------------------------


def test_two_guest_clusters_with_one_host_cluster(tmp_path: Path) -> None:
    image = small_image(0, 1, 2)
    leak(image)
    image.set_l2(0, 2, COPIED | image.active.data[0])
    image.set_refcount(image.active.data[0] // CLUSTER, 2)
    assert all_orphans(checked(image, tmp_path))


def test_a_zero_allocated_twin(tmp_path: Path) -> None:
    image = small_image(0, 1)
    leak(image)
    image.set_l2(0, 9, image.active.data[0] | 1)
    assert all_orphans(checked(image, tmp_path))


@pytest.mark.parametrize("offset", [0, CLUSTER, 2 * CLUSTER, 3 * CLUSTER, 4 * CLUSTER])
def test_guest_data_in_metadata(offset: int, tmp_path: Path) -> None:
    """Each of refcount table, refcount block, L1 and L2; offset 0 maps nothing."""
    image = small_image(0, 1)
    leak(image)
    image.set_l2(0, 9, offset | int(bool(offset)) * COPIED)
    result = checked(image, tmp_path)
    assert all_orphans(result) if offset else all_waste(result)


def test_two_trees_with_a_cluster_at_different_addresses(tmp_path: Path) -> None:
    """As when a table was moved by one entry: neither has lost its reference."""
    image = small_image(*range(4), snapshots=(SnapshotSpec("1", "one", own_tables=True),))
    leak(image)
    lost = image.snapshots[0].data[3]
    image.set_l2(0, 3, image.peek(image.l2_entry_offset(0, 2, layer=1)), layer=1)
    image.set_l2(0, 2, 1, layer=1)
    image.set_refcount(lost // CLUSTER, 1)
    image.set_l2(0, 3, COPIED | lost)
    assert all_orphans(checked(image, tmp_path))


def test_streams_may_share_a_cluster(tmp_path: Path) -> None:
    content = {guest: Compressed(guest) for guest in range(9)}
    image = small_image(content=content)
    leak(image)
    assert all_waste(checked(image, tmp_path))


def test_a_stream_inside_another(tmp_path: Path) -> None:
    """Two guest clusters name the same compressed bytes."""
    content = {guest: Compressed(guest, noise=1000) for guest in range(9)}
    image = small_image(content=content)
    leak(image)
    image.set_l2(0, 20, image.peek(image.l2_entry_offset(0, 3)))
    assert all_orphans(checked(image, tmp_path))


def test_trees_may_share_a_cluster(tmp_path: Path) -> None:
    image = small_image(0, 1, snapshots=(MONDAY, SnapshotSpec("2", "two", own_tables=True)))
    leak(image)
    assert all_waste(checked(image, tmp_path))


# -- (e) gaps -----------------------------------------------------------------------------------


def _lost_run(first: int, count: int, guests: int = 40) -> BuiltImage:
    """Guest clusters in host order, of which a run was lost."""
    image = small_image(*range(guests))
    lose(image, *range(first, first + count))
    return image


@pytest.mark.parametrize(("first", "count"), [(1, 1), (5, 3), (30, 9)])
def test_a_run_that_fills_a_gap(first: int, count: int, tmp_path: Path) -> None:
    result = checked(_lost_run(first, count), tmp_path)
    assert all_orphans(result)
    assert f"guest offset {first * CLUSTER:#x}" in result.triage.reasons[0]


def test_a_run_one_cluster_too_short(tmp_path: Path) -> None:
    """One of the clusters in the gap does not leak: it is free."""
    image = _lost_run(5, 3)
    image.set_refcount(image.active.data[7] // CLUSTER, 0)
    assert all_waste(checked(image, tmp_path))


def test_a_run_one_cluster_too_long_for_the_gap(tmp_path: Path) -> None:
    """The neighbours in the table are no neighbours of the run."""
    image = _lost_run(5, 3)
    image.set_l2(0, 7, 1)
    assert all_waste(checked(image, tmp_path))


@pytest.mark.parametrize(("count", "kept"), [(8, True), (7, False)])
def test_a_run_behind_metadata_must_be_long(count: int, kept: bool, tmp_path: Path) -> None:
    """The first entries of a table are lost; the run begins right behind the table itself."""
    result = checked(_lost_run(0, count), tmp_path)
    assert all_orphans(result) if kept else all_waste(result)


def _run_before(what: str) -> BuiltImage:
    """The last 8 entries of a table of 64 are lost; what lies behind their run is chosen."""
    content = {guest: Data(1) for guest in range(64)}
    places = {"l2/0": 10} | {f"data/{guest}": 11 + guest for guest in range(64)}
    places |= {"l2/1": 75} if what == "table" else {"data/64": 75, "l2/1": 77}
    image = build(
        ImageSpec(
            cluster_bits=9,
            virtual_size=128 * 512,
            content={**content, 64: Data(2)},
            layout=at(**places),
        )
    )
    for index in range(56, 64):
        image.set_l2(0, index, 0)
    return image


def test_a_run_before_metadata(tmp_path: Path) -> None:
    assert all_orphans(checked(_run_before("table"), tmp_path))


def test_a_run_before_other_data(tmp_path: Path) -> None:
    assert all_waste(checked(_run_before("data"), tmp_path))


def test_a_run_at_the_end_of_the_file_is_honest(tmp_path: Path) -> None:
    """A writer died after it had allocated and before it linked anything."""
    image = small_image(*range(20))
    leaks(image, 30)
    assert all_waste(checked(image, tmp_path))


def test_gaps_of_extended_entries_know_their_bitmaps(tmp_path: Path) -> None:
    """An entry whose bitmap says zeros is used, and its cluster was given up."""
    spec = ImageSpec(
        cluster_bits=14, extended_l2=True, content={guest: Data(1) for guest in range(5)}
    )
    image = build(spec)
    lose(image, 2)
    image.set_subclusters(0, 2, 0xFFFFFFFF << 32)
    assert all_waste(checked(image, tmp_path))
    image.set_subclusters(0, 2, 0)
    assert all_orphans(checked(image, tmp_path))


def test_sectors_of_a_table_that_were_wiped(tmp_path: Path) -> None:
    """Of a table of compressed clusters, 64 entries: no run can fill such a gap."""
    content = {guest: Compressed(guest % 200 + 1, noise=3000) for guest in range(300)}
    image = small_image(content=content, stream_alignment="sector")
    lose(image, *range(64, 128))
    assert all_orphans(checked(image, tmp_path))


@pytest.mark.parametrize("lost", [range(65, 128), range(65, 129)], ids=["short", "moved"])
def test_entries_that_are_no_sector(lost: range, tmp_path: Path) -> None:
    content = {guest: Compressed(guest % 200 + 1, noise=3000) for guest in range(300)}
    image = small_image(content=content, stream_alignment="sector")
    lose(image, *lost)
    assert all_waste(checked(image, tmp_path))


# -- references that the active layer lost ------------------------------------------------------


def test_an_entry_that_only_a_snapshot_still_has(tmp_path: Path) -> None:
    image = small_image(*range(9), snapshots=(SnapshotSpec("1", "one", own_tables=True),))
    lose(image, 4)
    assert all_orphans(checked(image, tmp_path))


@pytest.mark.parametrize(("version", "entry"), [(3, 1), (2, 0)])
def test_a_discard_is_no_loss(version: int, entry: int, tmp_path: Path) -> None:
    """Version 3 marks what was discarded, version 2 cannot."""
    snapshot = SnapshotSpec("1", "one", own_tables=True)
    image = small_image(*range(9), snapshots=(snapshot,), version=version)
    image.set_l2(0, 4, entry)
    assert all_waste(checked(image, tmp_path))


def test_a_table_that_only_a_snapshot_still_has(tmp_path: Path) -> None:
    image = small_image(*range(9), snapshots=(SnapshotSpec("1", "one"),))
    image.set_l1(0, 0)
    assert all_orphans(checked(image, tmp_path))


def test_what_the_active_layer_never_had_is_no_loss(tmp_path: Path) -> None:
    """The over-counted cluster lies where the active layer has its own."""
    snapshot = SnapshotSpec("1", "one", content={3: Data(7)}, own_tables=True)
    image = small_image(*range(9), snapshots=(snapshot,))
    image.set_refcount(image.snapshots[0].data[3] // CLUSTER, 2)
    assert all_waste(checked(image, tmp_path))
