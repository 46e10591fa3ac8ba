"""The picture of an image: what its maps say of each cluster, and where its metadata lies."""

from itertools import repeat
from pathlib import Path

import numpy as np
import pytest

from qcow2_dump.checks.checker import Checker
from qcow2_dump.checks.maps import host_classes, picture
from qcow2_dump.checks.maps.class_values import DAMAGED_BIT
from qcow2_dump.checks.maps.guest_class import GuestClass
from qcow2_dump.checks.maps.picture import Picture, PictureMaker
from qcow2_dump.checks.maps.runs import ClassRuns
from qcow2_dump.checks.space.kinds import Kind
from qcow2_dump.image.image import open_image
from qcow2_dump.image.resolver import NeverLook
from tests.builder.build import build
from tests.builder.built import BuiltImage
from tests.builder.spec import (
    Compressed,
    Data,
    ImageSpec,
    SnapshotSpec,
    Subclusters,
    ZeroAlloc,
    ZeroPlain,
)

_SIZE = 65536


def _picture(built: BuiltImage, folder: Path) -> Picture:
    path = built.write_to(folder / "disk.qcow2")
    with open_image(str(path), resolver=NeverLook()) as image:
        checker = Checker(image)
        for _ in checker.run():
            pass
        maker = PictureMaker(checker)
        for _ in maker.run():
            pass
        return maker.picture()


def _clusters(runs: ClassRuns) -> list[tuple[int, bool]]:
    """Class and damage of each cluster."""
    units = runs.length * runs.cell_size // _SIZE
    damaged = (runs.mask >> np.uint16(DAMAGED_BIT)).astype(bool)
    found: list[tuple[int, bool]] = []
    for kind, hurt, count in zip(runs.kind, damaged, units, strict=True):
        found += repeat((int(kind), bool(hurt)), int(count))
    return found


def test_the_guest_map_tells_what_each_cluster_is(tmp_path: Path) -> None:
    spec = ImageSpec(
        content={0: Data(1), 1: Data(2), 2: ZeroPlain(), 3: ZeroAlloc(), 4: Compressed(5)},
        virtual_size=8 * _SIZE,
        snapshots=(SnapshotSpec("1", "monday", shared=frozenset({1})),),
    )
    found = _picture(build(spec), tmp_path)
    kinds = [GuestClass(kind) for kind, _ in _clusters(found.guest.runs)]
    assert kinds == [
        GuestClass.DATA,
        GuestClass.SHARED,
        GuestClass.ZERO,
        GuestClass.ZERO,
        GuestClass.COMPRESSED,
        GuestClass.UNALLOCATED,
        GuestClass.UNALLOCATED,
        GuestClass.UNALLOCATED,
    ]
    assert found.guest.sums.tolist() == [3 * _SIZE, 2 * _SIZE, _SIZE, _SIZE, _SIZE, 0, 0]
    assert found.guest.damaged == 0


def test_damage_shows_on_both_maps(tmp_path: Path) -> None:
    built = build(ImageSpec(content={0: Data(1), 1: Data(2), 2: Data(3)}, virtual_size=4 * _SIZE))
    built.set_l2(0, 1, 1 << 40)
    found = _picture(built, tmp_path)
    assert [hurt for _, hurt in _clusters(found.guest.runs)] == [False, True, False, False]
    assert found.guest.damaged == found.guest.sums[GuestClass.UNREADABLE] == _SIZE
    table = found.structures.l2_offset
    assert table is not None
    host = _clusters(found.host.runs)
    assert host[int(table[0]) // _SIZE] == (Kind.L2, True)
    assert found.host.damaged == _SIZE * sum(hurt for _, hurt in host)


def test_the_host_map_counts_every_byte_once(tmp_path: Path) -> None:
    built = build(ImageSpec(content={0: Data(1), 9: Compressed(2)}, virtual_size=64 * _SIZE))
    found = _picture(built, tmp_path)
    size = (tmp_path / "disk.qcow2").stat().st_size
    assert int(found.host.sums.sum()) == size
    assert found.host.sums[Kind.HEADER] == _SIZE
    assert found.host.size == size


@pytest.mark.parametrize("count", [3, 700])
def test_pieces_of_data_are_listed_where_they_lie(count: int, tmp_path: Path) -> None:
    content = {2 + n: Data(1) for n in range(count)}
    built = build(ImageSpec(content=content, virtual_size=(count + 4) * _SIZE))
    found = _picture(built, tmp_path)
    extents = found.guest.extents
    assert extents is not None
    assert extents.guest.tolist()[0] == 2 * _SIZE
    assert int(extents.length.sum()) == count * _SIZE
    hosts = built.active.data
    assert extents.host.tolist()[0] == hosts[2]
    assert found.guest.fragmentation.pieces == len(extents.guest)
    assert found.guest.fragmentation.data == count * _SIZE


@pytest.mark.parametrize("cuts", [0, 1 << 22])
def test_a_long_piece_is_cut_where_its_owners_change(
    cuts: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(host_classes, "_MOST_CUTS", cuts)
    content = {n: Data(1) for n in range(600)}
    shared = frozenset(range(300))
    spec = ImageSpec(
        content=content,
        virtual_size=600 * _SIZE,
        snapshots=(SnapshotSpec("1", "half", shared=shared),),
    )
    found = _picture(build(spec), tmp_path)
    kinds = [kind for kind, _ in _clusters(found.guest.runs)]
    assert kinds == [GuestClass.SHARED] * 300 + [GuestClass.DATA] * 300


def test_subclusters_have_classes_of_their_own(tmp_path: Path) -> None:
    bitmap = 0x0000FFFF | 0xFFFF0000 << 32
    spec = ImageSpec(content={0: Subclusters(bitmap)}, virtual_size=2 * _SIZE, extended_l2=True)
    found = _picture(build(spec), tmp_path)
    assert found.guest.sums.tolist() == [_SIZE, _SIZE // 2, _SIZE // 2, 0, 0, 0, 0]


def test_one_table_at_every_place_does_not_take_forever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(picture, "_MOST_BEYOND", 4 * _SIZE)
    span = 8192 * _SIZE
    built = build(ImageSpec(content={0: Data(1)}, virtual_size=64 * span))
    table = built.peek(built.l1_entry_offset(0))
    for index in range(1, 64):
        built.set_l1(index, table)
    found = _picture(built, tmp_path)
    # Twice the one table of the check, and four more.
    assert found.guest.sums[GuestClass.DATA] + found.guest.sums[GuestClass.SHARED] == 6 * _SIZE
    assert found.guest.sums[GuestClass.UNKNOWN] == 58 * span
    assert found.guest.size == 64 * span
