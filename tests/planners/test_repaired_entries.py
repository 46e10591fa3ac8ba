"""Mapping changes with their refcounts and COPIED flags: clean to QEMU, and the same to the guest.

What the planners of entries, of unusable entries and of private copies draft is finished here as a
repair does it.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from qcow2_dump.errors import UnsafePlanError
from qcow2_dump.image.image import open_image
from qcow2_dump.plan.overlay import OverlaySource
from qcow2_dump.planners.allocator import Allocator
from qcow2_dump.planners.checked import Checked, check_for_planning
from qcow2_dump.planners.draft import Draft
from qcow2_dump.planners.finishing import Finisher
from qcow2_dump.planners.mapping.entries import mend_entries
from qcow2_dump.planners.mapping.private_copies import separate_owners
from qcow2_dump.planners.mapping.unusable import drop_unusable
from qcow2_dump.planners.repairs import RepairChoice, plan_repair
from tests.builder.build import build
from tests.builder.built import BuiltImage
from tests.builder.spec import (
    ALL_SUBCLUSTERS,
    BitmapSpec,
    Compressed,
    Data,
    ImageSpec,
    SnapshotSpec,
    Subclusters,
    ZeroAlloc,
)
from tests.support.qemu import qemu_check, qemu_io, qemu_to_raw, require_qemu

COPIED, COMPRESSED = 1 << 63, 1 << 62
CONTENT = {0: Data(1), 1: Data(2), 2: ZeroAlloc(), 3: Compressed(4, noise=200), 4: Data(5)}
ALL = RepairChoice(leaks=True, errors=True, reuse=True, drop_unusable=True)


def sample(**changes: object) -> BuiltImage:
    spec: dict[str, object] = {"cluster_bits": 12, "virtual_size": 8 << 20, "content": CONTENT}
    return build(ImageSpec(**{**spec, **changes}))  # type: ignore[arg-type]


def _reuse(draft: Draft, found: Checked) -> None:
    separate_owners(draft, found, Allocator(draft, found, can_grow=True))


def finished(
    image: BuiltImage, folder: Path, *planners: Callable[[Draft, Checked], object]
) -> Path:
    """The image with the changes of some planners, finished; written to a file."""
    with open_image(image.write_to(folder / "found.qcow2")) as opened:
        found = check_for_planning(opened)
        with closing(Draft(opened, "test")) as draft:
            for planner in planners:
                planner(draft, found)
            proposal = Finisher(found, replace(ALL, drop_unusable=False).policy, True).finish(draft)
            source = OverlaySource(opened.source, proposal.plan)
            path = folder / "after.qcow2"
            path.write_bytes(source.read(0, source.size))
            proposal.plan.close()
            return path


def seen(path: Path, *snapshots: str) -> list[bytes]:
    raw = path.with_suffix(".raw")
    return [qemu_to_raw(path, raw, name).read_bytes() for name in (None, *snapshots)]


def _map(image: BuiltImage, index: int, raw: int) -> None:
    """An entry that holds data, also where it says so of each subcluster."""
    image.set_l2(0, index, raw)
    if image.spec.extended_l2:
        image.set_subclusters(0, index, ALL_SUBCLUSTERS)


def _shared_data(image: BuiltImage) -> None:
    for index in (9, 10, 200):
        _map(image, index, COPIED | image.active.data[0])


def _shared_table(image: BuiltImage) -> None:
    image.set_l1(2, image.peek(image.l1_entry_offset(0)))


def _data_on_metadata(image: BuiltImage) -> None:
    _map(image, 9, image.active.l1)
    _map(image, 10, image.places.refcount_blocks[0])
    _map(image, 11, image.active.l2[0])


def _table_on_data(image: BuiltImage) -> None:
    _map(image, 9, image.active.l2[0])


SHARED: dict[str, Callable[[BuiltImage], None]] = {
    "data": _shared_data,
    "table": _shared_table,
    "metadata": _data_on_metadata,
    "table-on-data": _table_on_data,
}
SPECS: dict[str, dict[str, object]] = {
    "plain": {},
    "snapshots": {
        "snapshots": (
            SnapshotSpec("1", "shares"),
            SnapshotSpec("2", "own", own_tables=True),
            SnapshotSpec("3", "other", content={0: Data(77)}),
        )
    },
    "extended": {
        "extended_l2": True,
        "cluster_bits": 14,
        "content": {**CONTENT, 6: Subclusters(0x0000_00F0_0000_0003)},
        "virtual_size": 64 << 20,
    },
    "narrow-refcounts": {"refcount_order": 1},
}


@pytest.mark.parametrize("spec", SPECS)
@pytest.mark.parametrize("name", SHARED)
def test_copied_apart(name: str, spec: str, tmp_path: Path) -> None:
    """Clean, nothing changed for anybody, and writes to one range stay in that range."""
    require_qemu()
    image = sample(**SPECS[spec])
    SHARED[name](image)
    snapshots = ("1", "2", "3") if spec == "snapshots" else ()
    before = seen(image.write_to(tmp_path / "before.qcow2"), *snapshots)
    path = finished(image, tmp_path, _reuse)
    after = qemu_check(path)
    assert (after.rc, after.count("corruptions"), after.count("leaks")) == (0, 0, 0), after
    assert path.stat().st_size > len(image.data)
    assert seen(path, *snapshots) == before
    done = qemu_io(path, ["write -P 0xaa 0 4096"])
    assert done.returncode == 0, done.stdout
    now = seen(path, *snapshots)
    assert now[0][4096:] == before[0][4096:]
    assert now[1:] == before[1:]
    with open_image(path) as opened:
        assert not check_for_planning(opened).has("cluster.shared")


def test_mended_entries_need_no_more_than_their_flags(tmp_path: Path) -> None:
    """Reserved bits, a wrong compressed flag, a useless offset: clean, and the guest's own."""
    require_qemu()
    image = sample(bitmaps=(BitmapSpec("a"),))
    sound = seen(image.write_to(tmp_path / "sound.qcow2"))
    for index, bits in ((0, 1 << 60), (1, COMPRESSED), (2, 0x200), (3, COPIED)):
        at = image.l2_entry_offset(0, index)
        image.poke(at, image.peek(at) | bits)
    image.set_l2(0, 90, COPIED)
    assert qemu_check(image.write_to(tmp_path / "before.qcow2")).count("corruptions")
    path = finished(image, tmp_path, mend_entries)
    after = qemu_check(path)
    assert (after.rc, after.count("corruptions"), after.count("leaks")) == (0, 0, 0)
    assert seen(path) == sound


def test_dropped_entries_leave_the_rest(tmp_path: Path) -> None:
    require_qemu()
    image = sample(snapshots=(SnapshotSpec("1", "own", own_tables=True),))
    sound = seen(image.write_to(tmp_path / "sound.qcow2"), "1")
    image.set_l2(0, 1, COPIED | 1 << 40)
    image.set_l1(1, COPIED | 1 << 41)
    path = finished(image, tmp_path, drop_unusable)
    assert qemu_check(path).count("corruptions") == 0
    expected = bytearray(sound[0])
    expected[4096:8192] = bytes(4096)
    assert seen(path, "1") == [bytes(expected), sound[1]]


def repaired(image: BuiltImage, folder: Path, choice: RepairChoice) -> tuple[Path, list[str]]:
    """The image after a repair, and what the repair says."""
    with open_image(image.write_to(folder / "found.qcow2")) as opened:
        proposal = plan_repair(opened, choice, can_grow=True)
        source = OverlaySource(opened.source, proposal.plan)
        path = folder / "after.qcow2"
        path.write_bytes(source.read(0, source.size))
        proposal.close()
        return path, proposal.notes


def test_what_qemu_launders_is_copied_apart(tmp_path: Path) -> None:
    """Two addresses with one cluster and a refcount of 2: nothing that qemu-img would tell."""
    require_qemu()
    image = sample(content={0: Data(1), 1: Data(2)})
    first = image.active.data[0]
    for index in (0, 1):
        image.set_l2(0, index, first)
    image.set_refcount(first >> 12, 2)
    image.set_refcount(image.active.data[1] >> 12, 0)
    assert qemu_check(image.write_to(tmp_path / "before.qcow2")).rc == 0
    path, notes = repaired(image, tmp_path, RepairChoice(reuse=True))
    assert "1 cluster of 4,096 bytes" in notes[0]
    assert qemu_check(path).rc == 0
    with open_image(path) as opened:
        assert check_for_planning(opened).result.tallies == {}


def test_mending_comes_before_copying(tmp_path: Path) -> None:
    """What is mended in one round is copied apart in the next."""
    require_qemu()
    image = sample(content={0: Data(1), 1: Data(2)})
    image.set_l2(0, 7, COPIED | 1 << 60 | image.active.data[0])
    path, notes = repaired(image, tmp_path, ALL)
    assert "1 cluster of 4,096 bytes" in notes[0]
    assert qemu_check(path).rc == 0
    with open_image(path) as opened:
        assert check_for_planning(opened).result.tallies == {}


def test_luks_keeps_what_is_shared(tmp_path: Path) -> None:
    """Refcount and flags are made right all the same, so that the next write separates them."""
    image = build(ImageSpec(crypt_method=2, luks=bytes(4096), content={0: Data(1), 1: Data(2)}))
    image.set_l2(0, 1, COPIED | image.active.data[0])
    with pytest.raises(UnsafePlanError, match="LUKS"):
        repaired(image, tmp_path, ALL)
    path, _ = repaired(image, tmp_path, replace(ALL, reuse=False))
    assert path.stat().st_size == len(image.data)
    with open_image(path) as opened:
        assert set(check_for_planning(opened).result.tallies) == {"cluster.shared", "refcount.leak"}


def test_what_a_later_round_mends_is_not_called_left(tmp_path: Path) -> None:
    """The table's own cluster is claimed by the guest at first; so says the first round only."""
    require_qemu()
    image = sample()
    image.set_l2(0, 9, image.active.l2[0])
    at = image.l2_entry_offset(0, 0)
    image.poke(at, image.peek(at) | 1 << 60)
    path, notes = repaired(image, tmp_path, ALL)
    assert not [note for note in notes if "left" in note]
    assert qemu_check(path).rc == 0
    with open_image(path) as opened:
        assert check_for_planning(opened).result.tallies == {}
