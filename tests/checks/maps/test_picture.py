"""The picture of an image: what its maps say of each cluster, and where its metadata lies."""

from itertools import repeat
from pathlib import Path

import numpy as np
import pytest

from qcow2_dump.checks.checker import Checker
from qcow2_dump.checks.maps.guest_map import GuestClass
from qcow2_dump.checks.maps.picture import Picture, PictureMaker
from qcow2_dump.checks.maps.runs import DAMAGED_BIT, ClassRuns
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
    picture = _picture(build(spec), tmp_path)
    kinds = [GuestClass(kind) for kind, _ in _clusters(picture.guest.runs)]
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
    assert picture.guest.sums.tolist() == [3 * _SIZE, 2 * _SIZE, _SIZE, _SIZE, _SIZE]
    assert picture.guest.damaged == 0


def test_damage_shows_on_both_maps(tmp_path: Path) -> None:
    built = build(ImageSpec(content={0: Data(1), 1: Data(2), 2: Data(3)}, virtual_size=4 * _SIZE))
    built.set_l2(0, 1, 1 << 40)
    picture = _picture(built, tmp_path)
    assert [hurt for _, hurt in _clusters(picture.guest.runs)] == [False, True, False, False]
    assert picture.guest.damaged == _SIZE
    table = picture.structures.l2_offset
    assert table is not None
    host = _clusters(picture.host.runs)
    assert host[int(table[0]) // _SIZE] == (Kind.L2, True)
    assert picture.host.damaged == sum(hurt for _, hurt in host)


def test_the_host_map_counts_every_cluster_once(tmp_path: Path) -> None:
    built = build(ImageSpec(content={0: Data(1), 9: Compressed(2)}, virtual_size=64 * _SIZE))
    picture = _picture(built, tmp_path)
    size = (tmp_path / "disk.qcow2").stat().st_size
    assert int(picture.host.sums.sum()) == -(-size // _SIZE)
    assert picture.host.sums[Kind.HEADER] == 1
    assert picture.host.size == size


@pytest.mark.parametrize("count", [3, 700])
def test_pieces_of_data_are_listed_where_they_lie(count: int, tmp_path: Path) -> None:
    content = {2 + n: Data(1) for n in range(count)}
    built = build(ImageSpec(content=content, virtual_size=(count + 4) * _SIZE))
    picture = _picture(built, tmp_path)
    extents = picture.guest.extents
    assert extents is not None
    assert extents.guest.tolist()[0] == 2 * _SIZE
    assert int(extents.length.sum()) == count * _SIZE
    hosts = built.active.data
    assert extents.host.tolist()[0] == hosts[2]
    assert picture.guest.fragmentation.pieces == len(extents.guest)
    assert picture.guest.fragmentation.data == count * _SIZE


def test_a_long_piece_is_cut_where_its_owners_change(tmp_path: Path) -> None:
    content = {n: Data(1) for n in range(600)}
    shared = frozenset(range(300))
    spec = ImageSpec(
        content=content,
        virtual_size=600 * _SIZE,
        snapshots=(SnapshotSpec("1", "half", shared=shared),),
    )
    picture = _picture(build(spec), tmp_path)
    kinds = [kind for kind, _ in _clusters(picture.guest.runs)]
    assert kinds == [GuestClass.SHARED] * 300 + [GuestClass.DATA] * 300


def test_subclusters_have_classes_of_their_own(tmp_path: Path) -> None:
    bitmap = 0x0000FFFF | 0xFFFF0000 << 32
    spec = ImageSpec(content={0: Subclusters(bitmap)}, virtual_size=2 * _SIZE, extended_l2=True)
    picture = _picture(build(spec), tmp_path)
    assert picture.guest.sums.tolist() == [_SIZE, _SIZE // 2, _SIZE // 2, 0, 0]
