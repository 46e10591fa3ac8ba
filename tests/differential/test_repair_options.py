"""Repairs that were asked to give something up, or to copy: they take that, and nothing else.

A choice of cases by default, all that fit with QCOW2_DUMP_FULL=1 in the environment.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

import qcow2_dump
from tests.corpus import qemu
from tests.corpus.base import KIB, MIB
from tests.corpus.cases import Case, all_cases, layout_of, materialize, path_of
from tests.corpus.imagefile import ImageFile
from tests.corpus.layout import Kind, Layout
from tests.differential import oracle
from tests.differential.repair_case import REPAIR, state_of
from tests.differential.repair_guest import FAILS, Guest, read_guest
from tests.differential.repair_judge import LOOKS_FREE
from tests.differential.repair_ours import Ran, run, undo_files

FULL = os.environ.get("QCOW2_DUMP_FULL") == "1"


def cases(*damages: str, few: int = 3) -> list[Case]:
    """Cases of each of these kinds of damage: a few, or all."""
    found = []
    for damage in damages:
        fitting = [case for case in all_cases() if case.damage.name == damage]
        found += fitting if FULL else fitting[:few]
    return found


def codes(path: Path) -> set[str]:
    """What our check still finds."""
    with qcow2_dump.open_image(path) as image:
        return set(qcow2_dump.check(image).result.tallies)


def readable(guest: Guest) -> set[tuple[tuple[int, int], bytes]]:
    """What can be read of a guest's disk."""
    return {(place, content) for place, content in guest.clusters.items() if content != FAILS}


def assert_taken_back(path: Path, original: bytes, ran: Ran) -> None:
    """Whatever was given up comes back."""
    if path.read_bytes() == original:
        return
    assert undo_files(path), ran
    assert run("undo", "--yes", path).status == 0
    assert path.read_bytes() == original


@pytest.mark.parametrize(
    "case", cases("l2-duplicate", "l1-duplicate", "l2-to-metadata"), ids=lambda case: case.name
)
def test_reuse_separates_and_loses_nothing(case: Case, tmp_path: Path) -> None:
    path = materialize(case, tmp_path)
    original, before = path.read_bytes(), state_of(case, path)
    shared = "cluster.shared" in codes(path)
    ran = run(*REPAIR, "--reuse", path)
    after = state_of(case, path)
    assert after.share.kept >= before.share.kept, ran
    assert after.stored.intact >= before.stored.intact, ran
    # The key stream depends on the place, and in a data file the place is the guest's.
    if shared and not (case.base.encrypted or layout_of(case.base).data_file):
        assert "cluster.shared" not in codes(path), ran
    assert_taken_back(path, original, ran)
    shutil.rmtree(path.parent)


@pytest.mark.parametrize(
    "case", cases("l2-outside", "l2-unaligned", "l1-outside"), ids=lambda case: case.name
)
def test_drop_unusable_drops_what_nobody_can_read(case: Case, tmp_path: Path) -> None:
    """Afterwards QEMU finds nothing wrong, and all that could be read still can."""
    path = materialize(case, tmp_path)
    original, before = path.read_bytes(), state_of(case, path)
    ran = run(*REPAIR, "--drop-unusable", path)
    after = state_of(case, path)
    assert after.share.kept >= before.share.kept, ran
    if case.damage.name not in LOOKS_FREE:
        assert after.stored.safe >= before.stored.safe, ran
    assert after.mended, ran
    assert_taken_back(path, original, ran)
    shutil.rmtree(path.parent)


@pytest.mark.parametrize(
    "case", cases("bitmap-directory", "bitmap-table", "bitmap-extension"), ids=lambda c: c.name
)
def test_drop_bitmaps_lets_qemu_in(case: Case, tmp_path: Path) -> None:
    """Where bitmaps were what kept it out, and the guest's disk is as it was."""
    path = materialize(case, tmp_path)
    original, before = path.read_bytes(), read_guest(path)
    ran = run(*REPAIR, "--drop-bitmaps", path)
    assert read_guest(path) == before, ran
    assert oracle.check(path).totals is not None, ran
    assert_taken_back(path, original, ran)
    shutil.rmtree(path.parent)


@pytest.mark.parametrize(
    "case", cases("snapshot-l1-offset", "snapshot-l1-size"), ids=lambda case: case.name
)
def test_drop_snapshot_keeps_the_others(case: Case, tmp_path: Path) -> None:
    """The damaged record is gone; the disk and the other snapshots read as before."""
    path = materialize(case, tmp_path)
    original, before = path.read_bytes(), read_guest(path)
    records = [record.offset for record in layout_of(case.base).snapshots]
    sound = path_of(case.base).read_bytes()
    damaged = next(at for at, r in enumerate(records) if original[r : r + 40] != sound[r : r + 40])
    ran = run(*REPAIR, "--drop-snapshot", str(damaged), path)
    after, gone = read_guest(path), damaged + 1
    if ran.status == 0 and "not make the image any better" in ran.out:
        # A length that differs is no damage yet.
        assert case.damage.name == "snapshot-l1-size"
        assert path.read_bytes() == original
        return
    assert after.names == before.names[:damaged] + before.names[gone:], ran
    kept = {
        ((tree - (tree > gone), number), content)
        for (tree, number), content in readable(before)
        if tree != gone
    }
    assert readable(after) >= kept, ran
    assert_taken_back(path, original, ran)
    shutil.rmtree(path.parent)


def test_after_reuse_owners_are_apart(tmp_path: Path) -> None:
    """A guest's write to one of them leaves the other as it was."""
    path = tmp_path / "disk.qcow2"
    qemu.create(path, 4 * MIB, cluster_size=4 * KIB)
    qemu.io(path, ["write -P 1 0 64k", "write -P 2 1M 64k"])
    with ImageFile(path) as image:
        entries = Layout(path).mappings(Layout(path).active, Kind.NORMAL)
        image.put(entries[20].offset, entries[3].value)
    first, second = entries[3].guest_cluster, entries[20].guest_cluster
    assert run(*REPAIR, "--reuse", path).status < 128
    shared = read_guest(path)
    assert shared.at((0, first)) == shared.at((0, second)) != b""
    qemu.io(path, [f"write -P 99 {first * 4}k 4k"])
    after = read_guest(path)
    assert after.at((0, second)) == shared.at((0, second)) != after.at((0, first))
    assert oracle.check(path).totals is not None


@pytest.mark.parametrize(
    "case",
    [
        c
        for c in cases("l1-table-overwritten", "l1-outside", "l2-table-overwritten", few=20)
        if "snapshots" in c.base.traits
    ],
    ids=lambda case: case.name,
)
def test_a_snapshot_of_a_damaged_image_applied(case: Case, tmp_path: Path) -> None:
    """The disk is what the snapshot was; what was left of the disk is the snapshot."""
    path = materialize(case, tmp_path)
    original, before = path.read_bytes(), read_guest(path)
    name = before.names[0].decode()
    ran = run("snapshot", "apply", path, name, "--yes")
    assert ran.status == 0, ran
    swap = {0: 1, 1: 0}
    expected = {((swap.get(t, t), n), content) for (t, n), content in readable(before)}
    assert readable(read_guest(path)) == expected, ran
    assert_taken_back(path, original, ran)
    shutil.rmtree(path.parent)
