"""Snapshots applied, deleted and kept by a new table and one header write (repair rules, 4).

Only pointers are drafted here: refcounts and COPIED flags that fit are for whoever finishes the
draft. All of it reads the draft as it is by then, so that one change can follow another.
"""

from collections.abc import Collection, Container
from dataclasses import replace

from qcow2_dump.checks.trees import Tree, tree_label, trees_of
from qcow2_dump.errors import RequestError, UnsafePlanError
from qcow2_dump.image.image import Image
from qcow2_dump.image.tables import SnapshotEntry
from qcow2_dump.ondisk.constants import (
    MAX_FILE_OFFSET,
    MAX_READABLE_OFFSET,
    MIN_V3_SNAPSHOT_EXTRA,
    SECTOR_SIZE,
)
from qcow2_dump.ondisk.snapshots import SnapshotRecord
from qcow2_dump.planners.allocator import Allocator
from qcow2_dump.planners.checked import Checked
from qcow2_dump.planners.draft import Draft
from qcow2_dump.planners.fields.bitmaps import mark_bitmaps_in_use
from qcow2_dump.planners.snapshots.table import (
    packed_records,
    put_snapshot_table,
    refuse_unreadable,
    with_full_extra_data,
)

__all__ = [
    "apply_snapshot",
    "delete_snapshots",
    "drop_snapshot_records",
    "keep_snapshots",
    "mend_short_extra_data",
]


def apply_snapshot(draft: Draft, found: Checked, allocator: Allocator, position: int) -> list[str]:
    """Exchange the active layer and the snapshot at a position of the table.

    The record then stands for what was the active layer, however damaged: nothing is lost. One
    header write switches the disk size, the active L1 table and the snapshot table. Returns
    sentences for people. Raises RequestError for no such snapshot, UnsafePlanError for one that
    cannot become the active layer, or where there is no room.
    """
    image = draft.drafted()
    if image.header.has_data_file:
        raise UnsafePlanError(
            "the guest's data lies in an external data file, which snapshots do not protect: "
            "applying one would not bring back what the guest had"
        )
    entry = _entry_at(image, position)
    refuse_unreadable(image.snapshot_table)
    tree = trees_of(image)[1 + position]
    _refuse_unusable(image, tree)
    swapped, notes = _swapped(found, image, entry)
    records = packed_records(image, changed={position: swapped})
    active = {
        "size": tree.disk_size,
        "l1_size": tree.l1_size,
        "l1_table_offset": tree.l1_offset,
    }
    mark_bitmaps_in_use(draft, found)
    put_snapshot_table(draft, allocator, records, active)
    return [*notes, *_about_sizes(image, tree), *_about_damage(found, position)]


def delete_snapshots(draft: Draft, allocator: Allocator, positions: Collection[int]) -> list[str]:
    """Remove the records at some positions; the snapshots are gone with that.

    Works on records that are damaged. Returns sentences for people. Raises RequestError for a
    position without a record, UnsafePlanError where records that cannot be read would be lost.
    """
    image = draft.drafted()
    for position in positions:
        _entry_at(image, position)
    refuse_unreadable(image.snapshot_table)
    return _without(draft, allocator, set(positions))


def keep_snapshots(draft: Draft, allocator: Allocator, kept: Collection[int]) -> list[str]:
    """Remove all records but those at some positions; also those that cannot be read.

    Returns sentences for people. Raises RequestError for a position without a record.
    """
    image = draft.drafted()
    for position in kept:
        _entry_at(image, position)
    if len(set(kept)) == image.header.nb_snapshots:
        return ["There is no other snapshot: there is nothing to do."]
    gone = {entry.position for entry in image.snapshot_table.entries} - set(kept)
    return _without(draft, allocator, gone)


def drop_snapshot_records(
    draft: Draft, allocator: Allocator, positions: Collection[int]
) -> list[str]:
    """Remove records by position, also some that cannot even be read.

    Where the table cannot be read up to a record, that one takes those behind it along: they
    cannot be found without it. Returns sentences for people. Raises RequestError for a position
    past the end of the table, UnsafePlanError where others that cannot be read would be lost.
    """
    image = draft.drafted()
    table = image.snapshot_table
    for position in positions:
        if not 0 <= position < image.header.nb_snapshots:
            raise RequestError(_no_such(image, position))
    unread = range(len(table.entries), image.header.nb_snapshots)
    given_up = unread if any(position in unread for position in positions) else ()
    refuse_unreadable(table, given_up=given_up)
    return _without(draft, allocator, set(positions))


def mend_short_extra_data(draft: Draft, allocator: Allocator) -> list[str]:
    """Give the records of a version 3 image the extra data that it demands (format 5.3).

    A disk size that is missing is the present one, as in QEMU. Returns sentences for people: why
    nothing was done, where that is so.
    """
    image = draft.drafted()
    if not image.header.is_v3:
        return []
    changed: dict[int, SnapshotRecord] = {}
    for entry in image.snapshot_table.entries:
        if entry.record.extra_data_size < MIN_V3_SNAPSHOT_EXTRA:
            changed[entry.position] = with_full_extra_data(
                entry.record,
                vm_state_size=entry.record.vm_state_size,
                disk_size=image.header.size // SECTOR_SIZE * SECTOR_SIZE,
            )
    if not changed:
        return []
    try:
        refuse_unreadable(image.snapshot_table)
        put_snapshot_table(draft, allocator, packed_records(image, changed=changed), {})
    except UnsafePlanError as error:
        return [f"Snapshot records that are too short are left as they are: {error}."]
    return []


def _entry_at(image: Image, position: int) -> SnapshotEntry:
    entries = image.snapshot_table.entries
    if not 0 <= position < len(entries):
        raise RequestError(_no_such(image, position))
    return entries[position]


def _no_such(image: Image, position: int) -> str:
    number = len(image.snapshot_table.entries)
    return f"there is no snapshot[{position}]: the table has {number:,} readable records"


def _without(draft: Draft, allocator: Allocator, gone: Container[int]) -> list[str]:
    """Write a table without some records; those that cannot be read go as well."""
    image = draft.drafted()
    lost = image.snapshot_table.dropped
    entries = image.snapshot_table.entries
    kept = {tree_label(e.record.id) for e in entries if e.position not in gone}
    labels = {tree_label(e.record.id) for e in entries if e.position in gone}
    records = packed_records(image, left_out=gone, changed={})
    put_snapshot_table(draft, allocator, records, {}, without=frozenset(labels - kept))
    if not lost:
        return []
    what = "1 record" if lost == 1 else f"{lost:,} records"
    return [f"{what} of the snapshot table could not be read; the new table is without."]


def _refuse_unusable(image: Image, tree: Tree) -> None:
    """Refuse a snapshot that QEMU could not open as the active layer."""
    geometry = image.geometry
    name = f"snapshot[{tree.index}]"
    if not tree.usable or not tree.l1_offset or not tree.l1_size:
        raise UnsafePlanError(
            f"the L1 table of {name}, {tree.l1_size:,} entries at {tree.l1_offset:#x}, cannot be "
            "used"
        )
    if tree.l1_end > image.source.size:
        raise UnsafePlanError(
            f"the L1 table of {name} at {tree.l1_offset:#x} lies past the end of the file"
        )
    size = tree.disk_size
    if not 0 < size <= MAX_FILE_OFFSET or size % SECTOR_SIZE:
        raise UnsafePlanError(f"the disk of {name} has an impossible size, {size:,} bytes")
    if geometry.l1_entries_for(size) > tree.l1_size:
        raise UnsafePlanError(
            f"the L1 table of {name} has {tree.l1_size:,} entries, too few for its disk of "
            f"{size:,} bytes"
        )


def _swapped(
    found: Checked, image: Image, entry: SnapshotEntry
) -> tuple[SnapshotRecord, list[str]]:
    """The record of the snapshot, standing for what is the active layer now."""
    header, record, notes = image.header, entry.record, []
    l1_size = header.l1_size
    far = header.l1_table_offset + 8 * l1_size > MAX_READABLE_OFFSET
    if image.geometry.is_aligned(header.l1_table_offset) and far:
        # QEMU would give up every check that comes to it; an empty table it does not read.
        l1_size = 0
    active = trees_of(image)[0]
    if not active.usable or not active.l1_size or active.l1_end > image.source.size:
        notes.append(
            f"The active L1 table cannot be used: {header.l1_size:,} entries at "
            f"{header.l1_table_offset:#x}. snapshot[{entry.position}] now has that pointer, so "
            "that what it led to can still be looked for: nothing that leaks is freed."
        )
    vm_state_size = record.vm_state_size
    if vm_state_size:
        if _has_entries_behind_disk(found, None) and _has_entries_behind_disk(
            found, entry.position
        ):
            # An old QEMU left some machine state in the active layer: not that of this disk.
            vm_state_size = 0
        notes.append(
            f"snapshot[{entry.position}] has a saved state of the machine, which does not belong "
            "to the disk that it stands for now: go back to it with the guest powered off."
        )
    swapped = replace(
        record,
        l1_table_offset=header.l1_table_offset,
        l1_size=l1_size,
        vm_state_size_32=vm_state_size if vm_state_size < 1 << 32 else 0,
    )
    return (
        with_full_extra_data(swapped, vm_state_size=vm_state_size, disk_size=header.size),
        notes,
    )


def _has_entries_behind_disk(found: Checked, position: int | None) -> bool:
    """Whether a tree maps something behind its disk: saved machine state (format 2.5)."""
    facts = found.facts
    tree = facts.trees[0 if position is None else 1 + position]
    place = facts.slots.place[facts.slots.of_tree(tree)]
    behind = facts.image.geometry.l1_entries_for(tree.disk_size)
    return bool(len(place)) and (int(place[-1]) - tree.l1_offset) >> 3 >= behind


def _about_sizes(image: Image, tree: Tree) -> list[str]:
    if tree.disk_size == image.header.size:
        return []
    return [
        f"The disk has {tree.disk_size:,} bytes with this snapshot, and {image.header.size:,} now."
    ]


def _about_damage(found: Checked, position: int) -> list[str]:
    statistics = next((s for s in found.result.trees if s.index == position), None)
    if statistics is None:
        return []
    bad = sum(table.unaligned + table.invalid for table in (statistics.l1, statistics.l2))
    if not bad:
        return []
    what = "1 entry" if bad == 1 else f"{bad:,} entries"
    return [f"The snapshot is damaged itself: {what} of its tables cannot be used."]
