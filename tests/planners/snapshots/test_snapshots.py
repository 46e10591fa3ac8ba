"""Snapshot tables as drafted: what is switched, what stays, and what is refused."""

from collections.abc import Callable

import pytest

from qcow2_dump.checks.trees import trees_of
from qcow2_dump.errors import RequestError, UnsafePlanError
from qcow2_dump.image.image import Image
from qcow2_dump.ondisk.header import Header
from qcow2_dump.ondisk.snapshots import SnapshotRecord
from qcow2_dump.planners.allocator import Allocator
from qcow2_dump.planners.checked import Checked, check_for_planning
from qcow2_dump.planners.draft import Draft, Stage
from qcow2_dump.planners.snapshots.changes import (
    apply_snapshot,
    delete_snapshots,
    drop_snapshot_records,
    keep_snapshots,
    mend_short_extra_data,
)
from qcow2_dump.storage.memory import MemorySource
from tests.builder.build import build
from tests.builder.built import BuiltImage
from tests.builder.spec import BitmapSpec, Data, ImageSpec, SnapshotSpec

MIB = 1 << 20
SPEC = ImageSpec(
    virtual_size=64 * MIB,
    content={0: Data(1), 1: Data(1)},
    snapshots=(
        SnapshotSpec("1", "one", {0: Data(2)}),
        SnapshotSpec("2", "two", {1: Data(3)}, disk_size=32 * MIB),
        SnapshotSpec("3", "three", {1: Data(4)}, extra_length=40),
    ),
)

Change = Callable[[Draft, Checked, Allocator], list[str]]


def changed(image: BuiltImage, change: Change) -> tuple[Image, Image, list[str]]:
    """The image as it is, as it is drafted, and the notes."""
    found = Image(MemorySource(image.data.to_bytes(), "image"))
    draft = Draft(found, "test")
    checked = check_for_planning(found)
    notes = change(draft, checked, Allocator(draft, checked, can_grow=True))
    drafted = Image(MemorySource(draft.overlay.read(0, draft.overlay.size), "image"))
    switches = [w for w in draft.build().writes() if w.reason == "snapshot.switch"]
    assert len(switches) <= 1
    return found, drafted, notes


def apply(position: int) -> Change:
    return lambda draft, found, allocator: apply_snapshot(draft, found, allocator, position)


def delete(*positions: int) -> Change:
    return lambda draft, found, allocator: delete_snapshots(draft, allocator, positions)


def keep(*positions: int) -> Change:
    return lambda draft, found, allocator: keep_snapshots(draft, allocator, positions)


def drop(*positions: int) -> Change:
    return lambda draft, found, allocator: drop_snapshot_records(draft, allocator, positions)


def mend(draft: Draft, found: Checked, allocator: Allocator) -> list[str]:
    return mend_short_extra_data(draft, allocator)


def records(image: Image) -> list[SnapshotRecord]:
    return [entry.record for entry in image.snapshot_table.entries]


def names(image: Image) -> list[bytes]:
    return [record.name for record in records(image)]


def outside(header: Header) -> tuple[int, ...]:
    """What no snapshot operation touches."""
    return (
        header.backing_file_offset,
        header.crypt_method,
        header.refcount_table_offset,
        header.refcount_table_clusters,
        header.incompatible_features,
    )


# -- apply ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("position", [0, 1, 2])
def test_the_active_layer_and_the_snapshot_change_places(position: int) -> None:
    before, after, _ = changed(build(SPEC), apply(position))
    was, now = trees_of(before), trees_of(after)
    swapped = [now[1 + position], *now[1:]]
    swapped[1 + position] = now[0]
    expected = [(tree.l1_offset, tree.l1_size, tree.disk_size) for tree in was]
    assert [(tree.l1_offset, tree.l1_size, tree.disk_size) for tree in swapped] == expected
    assert names(after) == names(before)
    assert outside(after.header) == outside(before.header)
    for old, new in zip(records(before), records(after), strict=True):
        assert (new.id, new.date_seconds, new.icount) == (old.id, old.date_seconds, old.icount)
        assert new.extra_data[24:] == old.extra_data[24:]


def test_applied_twice_the_pointers_are_the_first_ones() -> None:
    first, once, _ = changed(build(SPEC), apply(1))
    draft = Draft(once, "test")
    checked = check_for_planning(once)
    apply_snapshot(draft, checked, Allocator(draft, checked, can_grow=True), 1)
    twice = draft.drafted()
    assert trees_of(twice) == trees_of(first)
    assert records(twice) == records(first)


def test_one_write_switches_after_the_table_is_there() -> None:
    found = Image(MemorySource(build(SPEC).data.to_bytes(), "image"))
    draft = Draft(found, "test")
    checked = check_for_planning(found)
    apply_snapshot(draft, checked, Allocator(draft, checked, can_grow=True), 1)
    table, switch = list(draft.build().writes())
    assert table.reason == "snapshot.table-new"
    assert table.offset >= found.source.size
    assert switch.offset >= 24
    assert switch.end <= 72
    assert Stage.NEW < Stage.SWITCH


def test_version_2_records_learn_the_disk_size() -> None:
    spec = ImageSpec(
        version=2, virtual_size=64 * MIB, snapshots=(SnapshotSpec("1", "one", extra_length=0),)
    )
    _, after, _ = changed(build(spec), apply(0))
    assert records(after)[0].disk_size == 64 * MIB
    assert after.header.size == 64 * MIB


def test_another_disk_size_is_switched_and_told() -> None:
    _, after, notes = changed(build(SPEC), apply(1))
    assert after.header.size == 32 * MIB
    assert notes == ["The disk has 33,554,432 bytes with this snapshot, and 67,108,864 now."]


def test_bitmaps_do_not_hold_for_another_disk() -> None:
    spec = ImageSpec(snapshots=(SnapshotSpec("1", "one"),), bitmaps=(BitmapSpec("b", flags=0),))
    _, after, _ = changed(build(spec), apply(0))
    directory = after.bitmap_directory
    assert directory is not None
    assert directory.entries[0].entry.flags & 1


@pytest.mark.parametrize(
    ("offset", "kept_size"),
    [(0x30200, 1), (2**63, 0), (0x7FFFFFFFC0000000, 0), (2**64 - 1, 1)],
)
def test_a_ruined_active_pointer_goes_into_the_record(offset: int, kept_size: int) -> None:
    """QEMU opens such an image, and what the pointer led to is not forgotten."""
    image = build(SPEC)
    image.poke(40, offset)
    _, after, notes = changed(image, apply(0))
    assert (records(after)[0].l1_table_offset, records(after)[0].l1_size) == (offset, kept_size)
    assert trees_of(after)[0].usable
    assert f"at {offset:#x}" in notes[0]
    codes = check_for_planning(after).result.tallies
    assert {"snapshot.l1-table", "snapshot.record"} & set(codes)


def test_records_that_are_damaged_elsewhere_stay_as_they_are() -> None:
    image = build(SPEC)
    image.poke(image.places.snapshot_records[1], 0x123)
    image.poke(image.places.snapshot_records[1] + 8, 0xFFFFFFFF, 4)
    before, after, _ = changed(image, apply(0))
    assert records(after)[1:] == records(before)[1:]


@pytest.mark.parametrize(
    ("field", "value", "width", "words"),
    [
        (0, 0x30200, 8, "cannot be used"),
        (0, 0, 8, "cannot be used"),
        (0, 2**63, 8, "cannot be used"),
        (0, 1 << 40, 8, "past the end"),
        (8, 0, 4, "cannot be used"),
        (8, 4_194_305, 4, "cannot be used"),
        (48, 0, 8, "impossible size"),
        (48, 2**63, 8, "impossible size"),
        (48, 1000, 8, "impossible size"),
        (48, 1 << 40, 8, "too few for its disk"),
    ],
)
def test_snapshots_that_cannot_become_active(
    field: int, value: int, width: int, words: str
) -> None:
    image = build(SPEC)
    image.poke(image.places.snapshot_records[0] + field, value, width)
    with pytest.raises(UnsafePlanError, match=words):
        changed(image, apply(0))


@pytest.mark.parametrize("position", [-1, 3, 10**9])
def test_a_snapshot_that_is_not_there(position: int) -> None:
    for change in (apply, delete, keep, drop):
        with pytest.raises(RequestError, match="there is no snapshot"):
            changed(build(SPEC), change(position))


def test_data_files_are_not_protected_by_snapshots() -> None:
    image = build(SPEC)
    image.poke(72, 4)
    with pytest.raises(UnsafePlanError, match="external data file"):
        changed(image, apply(0))


def test_a_saved_machine_is_found_again_after_the_second_time() -> None:
    state = SnapshotSpec("1", "vm", {8192: Data(9)}, vm_state_size=1 << 16)
    image = build(ImageSpec(virtual_size=512 * MIB, snapshots=(state,)))
    before, after, notes = changed(image, apply(0))
    assert after.header.l1_size == 2
    assert records(after)[0].vm_state_size == 1 << 16
    assert "saved state of the machine" in notes[0]
    assert records(before)[0].l1_size == 2


def test_what_an_old_qemu_left_of_a_machine_is_not_taken_for_another() -> None:
    state = SnapshotSpec("1", "vm", {8192: Data(9)}, vm_state_size=1 << 16)
    spec = ImageSpec(virtual_size=512 * MIB, content={8192: Data(9)}, l1_size=2, snapshots=(state,))
    _, after, _ = changed(build(spec), apply(0))
    assert records(after)[0].vm_state_size == 0


def test_damage_of_the_snapshot_itself_is_told() -> None:
    image = build(SPEC)
    image.set_l1(0, 0x0000000001000000, 1)
    _, _, notes = changed(image, apply(0))
    assert "1 entry of its tables cannot be used" in notes[-1]


# -- delete, keep, drop ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "left"),
    [
        (delete(1), [b"one", b"three"]),
        (delete(0, 2), [b"two"]),
        (delete(0, 1, 2), []),
        (keep(1), [b"two"]),
        (keep(), []),
        (drop(2), [b"one", b"two"]),
    ],
)
def test_only_the_named_records_go(change: Change, left: list[bytes]) -> None:
    before, after, notes = changed(build(SPEC), change)
    assert names(after) == left
    kept = {record.name: record for record in records(before)}
    assert records(after) == [kept[name] for name in left]
    assert after.header.nb_snapshots == len(left)
    assert bool(after.header.snapshots_offset) == bool(left)
    assert after.header.l1_table_offset == before.header.l1_table_offset
    assert outside(after.header) == outside(before.header)
    assert notes == []


def test_keeping_all_there_are_needs_nothing() -> None:
    for spec, change in ((SPEC, keep(0, 1, 2)), (ImageSpec(), keep())):
        before, after, notes = changed(build(spec), change)
        assert after.source.read(0, after.source.size) == before.source.read(0, after.source.size)
        assert "nothing to do" in notes[0]


def unreadable_from_the_second() -> BuiltImage:
    """Its record says that it has 4 GiB of extra data: nobody knows where the third one starts."""
    image = build(SPEC)
    image.poke(image.places.snapshot_records[1] + 36, 0xFFFFFFFF, 4)
    return image


@pytest.mark.parametrize("change", [apply(0), delete(0), drop(0)])
def test_records_that_cannot_be_read_are_not_lost_by_the_way(change: Change) -> None:
    with pytest.raises(UnsafePlanError, match="2 snapshot records from position 1 on"):
        changed(unreadable_from_the_second(), change)


@pytest.mark.parametrize("change", [drop(1), drop(2), keep(0)])
def test_they_go_when_that_is_asked_for(change: Change) -> None:
    _, after, notes = changed(unreadable_from_the_second(), change)
    assert names(after) == [b"one"]
    assert "2 records of the snapshot table could not be read" in notes[0]


def test_a_table_in_an_impossible_place_can_be_given_up() -> None:
    image = build(SPEC)
    image.poke(64, 0x123)
    _, after, _ = changed(image, keep())
    assert (after.header.nb_snapshots, after.header.snapshots_offset) == (0, 0)


# -- extra data -----------------------------------------------------------------------------------


@pytest.mark.parametrize("length", [0, 8, 15])
def test_short_extra_data_is_filled_up_as_qemu_does(length: int) -> None:
    spec = ImageSpec(
        virtual_size=64 * MIB,
        snapshots=(
            SnapshotSpec("1", "one", extra_length=length, vm_state_size=7),
            SnapshotSpec("2", "two", extra_length=48),
        ),
    )
    before, after, notes = changed(build(spec), mend)
    mended, other = records(after)
    assert notes == []
    assert other == records(before)[1]
    assert len(mended.extra_data) == 24
    assert (mended.vm_state_size, mended.disk_size, mended.icount) == (7, 64 * MIB, None)
    assert (mended.id, mended.name) == (b"1", b"one")
    assert "snapshot.extra-data" not in check_for_planning(after).result.tallies


def test_nothing_is_mended_where_nothing_is_short() -> None:
    before, after, notes = changed(build(SPEC), mend)
    assert after.source.size == before.source.size
    assert notes == []


def test_short_records_before_unreadable_ones_are_left() -> None:
    spec = ImageSpec(snapshots=(SnapshotSpec("1", "one", extra_length=0), SnapshotSpec("2", "two")))
    image = build(spec)
    image.poke(image.places.snapshot_records[1] + 36, 0xFFFFFFFF, 4)
    before, after, notes = changed(image, mend)
    assert after.source.size == before.source.size
    assert "left as they are" in notes[0]


def test_one_change_follows_another() -> None:
    """Positions are those of the table as it is by then."""
    spec = ImageSpec(snapshots=(SnapshotSpec("1", "one"), SnapshotSpec("2", "two", extra_length=0)))

    def both(draft: Draft, found: Checked, allocator: Allocator) -> list[str]:
        return drop_snapshot_records(draft, allocator, (0,)) + mend(draft, found, allocator)

    found = Image(MemorySource(build(spec).data.to_bytes(), "image"))
    draft = Draft(found, "test")
    checked = check_for_planning(found)
    assert both(draft, checked, Allocator(draft, checked, can_grow=True)) == []
    (left,) = records(draft.drafted())
    assert (left.name, len(left.extra_data)) == (b"two", 24)
