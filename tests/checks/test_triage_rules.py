"""Leak triage: unusable things (a), empty tables (b), what is waste in any case.

Each rule with what must not set it off; (c) to (e) are tried in files of their own.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.builder.built import BuiltImage
from tests.builder.spec import BitmapSpec, Data, SnapshotSpec
from tests.checks.leaky import (
    CLUSTER,
    COMPRESSED,
    COPIED,
    all_orphans,
    all_waste,
    at,
    checked,
    leak,
    leaks,
    lose,
    small_image,
    verdicts,
)

Damage = Callable[[BuiltImage], object]

MONDAY = SnapshotSpec("1", "monday")
BITMAP = BitmapSpec("map", table={0: b"\x01"})


def with_everything() -> BuiltImage:
    """Data, a snapshot and a bitmap."""
    return small_image(0, 1, 2, 5, snapshots=(MONDAY,), bitmaps=(BITMAP,))


def test_a_leak_in_a_sound_image_is_waste(tmp_path: Path) -> None:
    image = with_everything()
    leaks(image, 3)
    assert all_waste(checked(image, tmp_path))


def test_an_overcounted_cluster_in_a_sound_image_is_waste(tmp_path: Path) -> None:
    image = with_everything()
    image.set_refcount(image.active.data[5] // CLUSTER, 7)
    assert all_waste(checked(image, tmp_path))


# -- (a) something unusable ---------------------------------------------------------------------


def _record(field: int, value: int, width: int) -> Damage:
    return lambda image: image.poke(image.places.snapshot_records[0] + field, value, width)


def _bitmap(field: int, value: int, width: int) -> Damage:
    return lambda image: image.poke(image.places.bitmaps[0].record + field, value, width)


UNUSABLE: dict[str, Damage] = {
    "l2-unaligned": lambda image: image.set_l2(0, 5, COPIED | 0x5200),
    "l2-beyond-end": lambda image: image.set_l2(0, 5, COPIED | 1 << 40),
    "l2-compressed-beyond-end": lambda image: image.set_l2(0, 5, COMPRESSED | 1 << 40),
    "l2-copied-no-offset": lambda image: image.set_l2(0, 5, COPIED),
    "l1-unaligned": lambda image: image.set_l1(0, COPIED | 0x6200),
    "l1-beyond-end": lambda image: image.set_l1(0, COPIED | 1 << 40),
    "l1-no-offset": lambda image: image.set_l1(1, COPIED),
    "snapshot-l1-unaligned": _record(0, 0x3200, 8),
    "snapshot-l1-beyond-end": _record(0, 1 << 40, 8),
    "snapshot-l1-size-0": _record(8, 0, 4),
    "snapshot-without-id": _record(12, 0, 2),
    "snapshot-extra-data-long": _record(36, 1025, 4),
    "snapshot-table-lost": lambda image: image.poke(60, 0, 4),
    "snapshot-table-unaligned": lambda image: image.poke(64, image.peek(64) + 8),
    "bitmap-table-unaligned": _bitmap(0, 0x5008, 8),
    "bitmap-type": _bitmap(16, 9, 1),
    "bitmap-entry-reserved": lambda image: image.poke(image.places.bitmaps[0].table, 2),
    "bitmap-entry-beyond-end": lambda image: image.poke(image.places.bitmaps[0].table, 1 << 40),
    "header-l1-size": lambda image: image.poke(36, 0, 4),
    "header-crypt-method": lambda image: image.poke(32, 7, 4),
    "file-cut-short": lambda image: image.truncate(image.active.data[5]),
}


@pytest.mark.parametrize("damage", UNUSABLE.values(), ids=UNUSABLE.keys())
def test_something_unusable_keeps_every_leak(damage: Damage, tmp_path: Path) -> None:
    image = _with_early_leak()
    damage(image)
    result = checked(image, tmp_path)
    assert 4 in verdicts(result)
    assert all_orphans(result), (result.triage, result.tallies)
    assert "cannot be used" in result.triage.reasons[0]


def _with_early_leak() -> BuiltImage:
    """As `with_everything`, with a leak in cluster 4 that no damage touches."""
    places = {"l2/0": 5, "data/0": 6, "data/1": 7, "data/2": 8, "snapshot/0/l1": 9}
    places |= {"snapshots": 10, "bitmaps": 11, "bitmap/0/table": 12, "bitmap/0/data/0": 13}
    image = small_image(
        0,
        1,
        2,
        5,
        snapshots=(MONDAY,),
        bitmaps=(BITMAP,),
        layout=at(**{**places, "data/5": 14}),
    )
    image.data.fill(4 * CLUSTER, CLUSTER, 0x77)
    image.set_refcount(4, 1)
    return image


USABLE: dict[str, Damage] = {
    "l2-reserved": lambda image: image.set_l2(0, 5, image.peek(image.l2_entry_offset(0, 5)) | 2),
    "l1-reserved": lambda image: image.set_l1(0, image.peek(image.l1_entry_offset(0)) | 2),
    "l2-copied": lambda image: image.set_l2(0, 5, image.peek(image.l2_entry_offset(0, 5)) ^ COPIED),
    "dirty": lambda image: image.poke(72, image.peek(72) | 1),
    "snapshot-disk-size": lambda image: image.poke(image.places.snapshot_records[0] + 48, 1 << 50),
}


@pytest.mark.parametrize("damage", USABLE.values(), ids=USABLE.keys())
def test_what_is_only_wrong_keeps_nothing(damage: Damage, tmp_path: Path) -> None:
    """The entry still says where its cluster is: nothing was lost."""
    image = _with_early_leak()
    damage(image)
    result = checked(image, tmp_path)
    assert result.tallies.keys() - {"refcount.leak"}
    assert all_waste(result), (result.triage, result.tallies)


def test_a_ghost_record_stays_one_after_its_extra_data_was_mended(tmp_path: Path) -> None:
    """Zeros with 24 bytes of extra data are what QEMU's own mending leaves of a wiped record."""
    image = _with_early_leak()
    image.data.write(image.places.snapshot_records[0], bytes(64))
    image.poke(image.places.snapshot_records[0] + 36, 24, 4)
    result = checked(image, tmp_path)
    assert "snapshot.record" in result.tallies
    assert all_orphans(result)


# -- (b) empty tables ---------------------------------------------------------------------------


def _with_empty_table(**changes: object) -> BuiltImage:
    """Data in cluster 5, and an empty table at L1 index 1 in cluster 9, the last but the leak."""
    spec: dict[str, object] = {"extra_l2": frozenset({1})}
    spec["layout"] = at(l2_0=4, data_0=5, l2_1=9)
    image = small_image(0, **{**spec, **changes})
    leak(image)
    return image


def test_an_empty_table_at_the_end_may_be_new(tmp_path: Path) -> None:
    result = checked(_with_empty_table(), tmp_path)
    assert all_orphans(result)
    (finding,) = [f for f in result.findings if f.code == "l2.empty"]
    assert (finding.offset, finding.l1_index) == (9 * CLUSTER, 1)
    assert (finding.guest_offset, finding.guest_length) == (512 * CLUSTER, 512 * CLUSTER)
    assert "l2.wiped" not in result.tallies


def test_an_empty_table_below_guest_data_was_wiped(tmp_path: Path) -> None:
    image = _with_empty_table(layout=at(l2_0=4, l2_1=5, data_0=9))
    result = checked(image, tmp_path)
    assert all_orphans(result)
    assert {"l2.wiped", "l2.empty"} & result.tallies.keys() == {"l2.wiped"}


def test_an_empty_table_with_a_higher_refcount_was_wiped(tmp_path: Path) -> None:
    image = _with_empty_table()
    image.set_refcount(9, 2)
    assert {"l2.wiped", "l2.empty"} & checked(image, tmp_path).tallies.keys() == {"l2.wiped"}


def test_an_empty_table_that_another_tree_has_filled_was_wiped(tmp_path: Path) -> None:
    """The snapshot's table at the same index maps a cluster below the empty one."""
    snapshot = SnapshotSpec("1", "one", content={512: Data(3)}, own_tables=True)
    places = {"l2/0": 4, "data/0": 5, "l2/1": 40, "snapshot/0/l2/1": 6, "snapshot/0/data/512": 7}
    image = _with_empty_table(snapshots=(snapshot,), layout=at(**places))
    assert {"l2.wiped", "l2.empty"} & checked(image, tmp_path).tallies.keys() == {"l2.wiped"}


def test_an_empty_table_that_a_tree_without_that_index_lacks_may_be_new(tmp_path: Path) -> None:
    image = _with_empty_table(
        snapshots=(SnapshotSpec("1", "one"),),
        layout=at(**{"l2/0": 4, "data/0": 5, "l2/1": 40}),
    )
    assert {"l2.wiped", "l2.empty"} & checked(image, tmp_path).tallies.keys() == {"l2.empty"}


def test_an_empty_table_beside_a_filled_gap_was_wiped(tmp_path: Path) -> None:
    places = {"l2/0": 4, "data/0": 5, "data/1": 6, "data/2": 7, "l2/1": 9}
    image = small_image(0, 1, 2, extra_l2=frozenset({1}), layout=at(**places))
    lose(image, 1)
    result = checked(image, tmp_path)
    assert all_orphans(result)
    assert {"l2.wiped", "l2.empty"} & result.tallies.keys() == {"l2.wiped"}


def test_a_table_of_zero_clusters_is_not_empty(tmp_path: Path) -> None:
    image = _with_empty_table()
    image.set_l2(1, 7, 1)
    assert all_waste(checked(image, tmp_path))


def test_an_empty_table_for_vm_state_is_no_doubt(tmp_path: Path) -> None:
    """QEMU clears the active table behind the disk once it has saved the state."""
    snapshot = SnapshotSpec("1", "one", content={2048: Data(9)}, vm_state_size=100)
    image = small_image(0, extra_l2=frozenset({4}), l1_size=5, snapshots=(snapshot,))
    leak(image)
    result = checked(image, tmp_path)
    assert all_waste(result), result.tallies


def test_empty_tables_without_leaks_are_nothing(tmp_path: Path) -> None:
    """Version 2 gets them by discarding."""
    image = small_image(0, extra_l2=frozenset({1, 2}))
    assert not checked(image, tmp_path).tallies


# -- zeros, stale bitmaps, refcounts of 0 -------------------------------------------------------


@pytest.mark.parametrize("content", [0, bytes(CLUSTER)], ids=["hole", "zeros"])
@pytest.mark.parametrize("backing", [None, "base.raw"])
def test_zeros_are_waste_unless_they_hide_something(
    content: bytes | int, backing: str | None, tmp_path: Path
) -> None:
    image = small_image(0, 1, backing_name=backing)
    blank = leak(image, content)
    data = leak(image)
    image.set_l2(0, 1, COPIED | 0x5200)
    said = verdicts(checked(image, tmp_path))
    assert said[data] == "orphan"
    assert said[blank] == ("orphan" if backing else "waste")


def test_zeros_are_no_doubt_over_a_backing_file(tmp_path: Path) -> None:
    image = small_image(0, backing_name="base.raw")
    leak(image, 0)
    assert all_waste(checked(image, tmp_path))


def _stale_bitmap() -> BuiltImage:
    image = small_image(0, 1, bitmaps=(BITMAP,))
    image.poke(88, 0)
    return image


def test_bitmaps_no_longer_valid_are_waste(tmp_path: Path) -> None:
    """Their table reads like one of the disk, and they are waste whatever else was lost."""
    image = _stale_bitmap()
    result = checked(image, tmp_path)
    assert len(verdicts(result)) == 3
    assert all_waste(result)
    lost = leak(image)
    image.set_l2(0, 1, COPIED | 1 << 40)
    said = verdicts(checked(image, tmp_path))
    assert said.pop(lost) == "orphan"
    assert said.pop(image.active.data[1] // CLUSTER) == "orphan"
    assert set(said.values()) == {"waste"}
    assert len(said) == 3


def test_bitmaps_whose_clusters_were_given_out_again_say_nothing(tmp_path: Path) -> None:
    image = _stale_bitmap()
    cluster = image.places.bitmaps[0].data[0]
    image.set_l2(0, 9, COPIED | cluster)
    image.set_l2(0, 1, COPIED | 0x5200)
    assert set(verdicts(checked(image, tmp_path)).values()) == {"orphan"}


def test_mapped_clusters_without_refcount_keep_what_nothing_refers_to(tmp_path: Path) -> None:
    image = small_image(0, 1, 2)
    lone = leak(image)
    image.set_refcount(image.active.data[0] // CLUSTER, 0)
    over = image.active.data[1] // CLUSTER
    image.set_refcount(over, 2)
    result = checked(image, tmp_path)
    assert verdicts(result) == {lone: "orphan", over: "waste"}
    assert result.triage.reasons == ("mapped clusters have a refcount of 0",)


def test_metadata_without_refcount_keeps_nothing(tmp_path: Path) -> None:
    image = small_image(0, 1)
    leak(image)
    image.set_refcount(3, 0)
    assert all_waste(checked(image, tmp_path))


def test_a_low_refcount_that_is_not_0_keeps_nothing(tmp_path: Path) -> None:
    image = small_image(0, 1, snapshots=(MONDAY,))
    leak(image)
    image.set_refcount(image.active.data[0] // CLUSTER, 1)
    assert all_waste(checked(image, tmp_path))


@pytest.mark.parametrize("most", [0, 1, 5000])
def test_the_judgement_does_not_depend_on_how_much_is_listed(most: int, tmp_path: Path) -> None:
    image = small_image(*range(9))
    leaks(image, 5)
    for guest in range(3):
        image.set_refcount(image.active.data[guest] // CLUSTER, 0)
    assert checked(image, tmp_path, most).triage.orphans == 5
    sound = small_image(*range(9), snapshots=(MONDAY,))
    leaks(sound, 5)
    for guest in range(3):
        sound.set_refcount(sound.active.data[guest] // CLUSTER, 1)
    assert checked(sound, tmp_path, most).triage.waste == 5
