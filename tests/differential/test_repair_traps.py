"""The traps of repairing: where others lose data, with the real qemu-io as the guest."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.corpus import qemu
from tests.corpus.base import KIB, MIB, copy_beside, sparse_copy
from tests.corpus.bases import BASES
from tests.corpus.cases import path_of
from tests.corpus.imagefile import ImageFile
from tests.corpus.layout import COPIED, Kind, Layout
from tests.differential import oracle, repair_qemu
from tests.differential.repair_case import REPAIR
from tests.differential.repair_guest import Guest, read_guest
from tests.differential.repair_ours import run, undo_files
from tests.differential.repair_stored import data_of, stored
from tests.support.qemu import qemu_to_raw

CLUSTER = 4 * KIB
TABLE = 512 * CLUSTER
"""How much of the disk an L2 table maps."""


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    """Three L2 tables, each full to a quarter, and a snapshot of an earlier state."""
    path = tmp_path / "disk.qcow2"
    qemu.create(path, 8 * MIB, cluster_size=CLUSTER)
    qemu.io(path, [f"write -P {n + 1} {n * TABLE} 512k" for n in range(3)])
    qemu.img("snapshot", "-c", "one", path)
    qemu.io(path, [f"write -P {n + 9} {n * TABLE} 128k" for n in range(3)])
    return path


def zeroed_table(image: ImageFile, layout: Layout) -> None:
    image.write(layout.active.l1[1].target, bytes(CLUSTER))


def entry_beyond_the_end(image: ImageFile, layout: Layout) -> None:
    image.put(layout.active.l1[1].offset, COPIED | 1 << 40)


def ruined_record(image: ImageFile, layout: Layout) -> None:
    image.put(layout.snapshots[0].offset, layout.snapshots[0].l1_offset + 8)


def duplicated_entry(image: ImageFile, layout: Layout) -> None:
    entries = layout.mappings(layout.active, Kind.NORMAL)
    image.put(entries[1].offset, entries[0].value)


NAMED = [zeroed_table, entry_beyond_the_end, ruined_record, duplicated_entry]


@pytest.mark.parametrize("damage", NAMED, ids=lambda damage: damage.__name__)
def test_qemu_loses_it_and_ours_does_not(
    damage: Callable[[ImageFile, Layout], None], disk: Path, tmp_path: Path
) -> None:
    """Clusters of the guest's disk that can still be rescued."""
    data, theirs = data_of(disk), tmp_path / "theirs.qcow2"
    with ImageFile(disk) as image:
        damage(image, Layout(disk))
    sparse_copy(disk, theirs)
    before = stored(data, disk)
    assert len(before.safe) == before.of

    repair_qemu.repair(theirs)
    assert len(stored(data, theirs).safe) < before.of

    ran = run(*REPAIR, disk)
    assert stored(data, disk) == before, ran
    assert run(*REPAIR, "--reuse", disk).status < 128
    assert stored(data, disk) == before
    qemu.io(disk, ["read 7M 512"])
    assert stored(data, disk) == before


def test_a_dirty_image_with_a_wiped_table(tmp_path: Path) -> None:
    """QEMU repairs a dirty image when it opens it, which would free what was lost."""
    path = tmp_path / "disk.qcow2"
    qemu.create(path, 8 * MIB, cluster_size=CLUSTER, lazy_refcounts="on")
    qemu.io(path, [f"write -P {n + 1} {n * TABLE} 512k" for n in range(3)])
    # Not yet counted: in the other tables, as what is neither counted nor named is free to all.
    qemu.io(path, [f"write -P 7 {5 * MIB} 128k", "flush", "write -P 8 1M 64k"], killed=True)
    data = data_of(path)
    with ImageFile(path) as image:
        assert image.get(72) & 1
        image.write(Layout(path).active.l1[1].target, bytes(CLUSTER))
    careless = tmp_path / "careless.qcow2"
    sparse_copy(path, careless)
    qemu.io(careless, ["read 0 512"])
    assert len(stored(data, careless).safe) < len(data.digests)

    ran = run(*REPAIR, path)
    qemu.io(path, ["write -P 5 7M 64k"])
    kept = stored(data, path)
    assert len(kept.safe) == len(kept.intact) == kept.of, ran.said


def _whole(path: Path, folder: Path, snapshot: str | None = None) -> bytes:
    raw = qemu_to_raw(path, folder / "out.raw", snapshot)
    return raw.read_bytes()


APPLIED = ["snapshots-64k", "snapshots-4k", "snapshots-512", "snapshots-v2", "packed", "vm-state"]


@pytest.mark.parametrize("name", APPLIED)
def test_a_snapshot_applied_then_written_to(name: str, tmp_path: Path) -> None:
    """The layer that became the snapshot is what the active one was, and stays so."""
    base = next(base for base in BASES if base.name == name)
    copy_beside(path_of(base).parent, tmp_path)
    path = tmp_path / "image.qcow2"
    active, saved = _whole(path, tmp_path), _whole(path, tmp_path, "1")

    ran = run("snapshot", "apply", path, "1", "--yes")
    assert ran.status == 0, ran
    assert oracle.check(path).word == "good"
    assert _whole(path, tmp_path)[: len(saved)] == saved
    assert _whole(path, tmp_path, "1")[: len(active)] == active

    size = Layout(path).cluster_size
    step = max(size, len(saved) // 24 // 512 * 512)
    writes = [f"write -P 222 {at} {size}" for at in range(0, len(saved) - size, step)]
    qemu.io(path, writes)
    assert _whole(path, tmp_path, "1")[: len(active)] == active
    assert oracle.check(path).word == "good"


@pytest.mark.parametrize("name", [*APPLIED, "luks-snapshots", "extended-snapshots"])
def test_a_snapshot_applied_twice(name: str, tmp_path: Path) -> None:
    """The first state again, and a clean check after each."""
    base = next(base for base in BASES if base.name == name)
    copy_beside(path_of(base).parent, tmp_path)
    path = tmp_path / "image.qcow2"
    before = read_guest(path)
    swapped = {tree: tree for tree in range(len(before.names) + 1)} | {0: 1, 1: 0}
    for goal in ({tree: swapped[tree] for tree in swapped}, {tree: tree for tree in swapped}):
        assert run("snapshot", "apply", path, "1", "--yes").status == 0
        assert oracle.check(path, encrypted=base.encrypted).word == "good"
        assert _renumbered(before, goal) == read_guest(path).clusters


def _renumbered(guest: Guest, trees: dict[int, int]) -> dict[tuple[int, int], bytes]:
    return {(trees[tree], number): content for (tree, number), content in guest.clusters.items()}


def test_a_snapshot_rescues_a_ruined_disk(disk: Path, tmp_path: Path) -> None:
    """The active L1 table is noise: what the snapshot holds becomes the disk."""
    saved = _whole(disk, tmp_path, "1")
    with ImageFile(disk) as image:
        image.write(Layout(disk).l1_offset, bytes(range(1, 33)))
    ran = run("snapshot", "apply", disk, "one", "--yes")
    assert ran.status == 0, ran
    assert _whole(disk, tmp_path) == saved


@pytest.mark.parametrize("rebuilt", ["block lost", "table lost"])
def test_a_rebuild_overwrites_no_orphan(rebuilt: str, disk: Path) -> None:
    """No counts are left to tell what is in use, and a wiped table has no references."""
    data = data_of(disk)
    with ImageFile(disk) as image:
        layout = Layout(disk)
        image.write(layout.active.l1[1].target, bytes(CLUSTER))
        if rebuilt == "block lost":
            image.put(layout.rt_offset, 0)
        else:
            image.put(56, 0, 4)
    ran = run(*REPAIR, disk)
    kept = stored(data, disk)
    assert len(kept.intact) == kept.of, ran.said
    totals = oracle.check(disk).totals
    assert totals is not None, ran.said
    assert totals["corruptions"] == totals["check-errors"] == 0, ran.said


def test_undo_refuses_after_use(disk: Path) -> None:
    """Going back would lose what was written since."""
    with ImageFile(disk) as image:
        entry = Layout(disk).mappings(Layout(disk).active, Kind.NORMAL)[0]
        image.put(entry.offset, entry.value ^ COPIED)
    assert run(*REPAIR, disk).status == 0
    (undo,) = undo_files(disk)
    qemu.io(disk, ["write -P 77 7M 64k"])
    used = disk.read_bytes()
    ran = run("undo", "--yes", disk)
    assert ran.status >= 128, ran
    assert ran.err.count("\n") == 1
    assert "used since" in ran.err
    assert disk.read_bytes() == used
    assert undo.exists()


def test_reuse_refuses_with_luks(tmp_path: Path) -> None:
    """A copy elsewhere could never be decrypted: the key stream depends on the place."""
    base = next(base for base in BASES if base.name == "luks")
    copy_beside(path_of(base).parent, tmp_path)
    path = tmp_path / "image.qcow2"
    with ImageFile(path) as image:
        first, second = Layout(path).mappings(Layout(path).active, Kind.NORMAL)[:2]
        image.put(second.offset, first.value)
    before, guest = stored(data_of(path_of(base)), path), read_guest(path)
    ran = run("repair", "--reuse", "--yes", path)
    assert read_guest(path) == guest, ran
    assert stored(data_of(path_of(base)), path).intact == before.intact
    assert "encrypt" in ran.said.lower() or "luks" in ran.said.lower(), ran
    both = {
        entry.target
        for entry in Layout(path).mappings(Layout(path).active, Kind.NORMAL)
        if entry.guest_cluster in (first.guest_cluster, second.guest_cluster)
    }
    assert both == {first.target}
