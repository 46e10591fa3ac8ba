"""Bitmaps marked as not saved, or given up so that QEMU opens the image."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from qcow2_dump.ondisk.constants import ExtensionType
from qcow2_dump.planners.fields.bitmaps import drop_bitmaps, mark_bitmaps_in_use
from tests.builder.built import BuiltImage
from tests.builder.spec import ALL_ONES, BitmapSpec, Data
from tests.builder.std import std_image
from tests.planners.drafts import drafted
from tests.support.qemu import qemu_check, require_qemu

AUTOCLEAR = 88
BITMAPS = (BitmapSpec("a", flags=2, table={0: b"\x01"}), BitmapSpec("bb", table={0: ALL_ONES}))


def sample() -> BuiltImage:
    return std_image(bitmaps=BITMAPS)


def _extension(image: BuiltImage) -> int:
    return image.places.extensions[ExtensionType.BITMAPS]


BAD: dict[str, Callable[[BuiltImage], None]] = {
    "no-bitmaps": lambda image: image.poke(_extension(image) + 8, 0, 4),
    "length": lambda image: image.poke(_extension(image) + 4, 16, 4),
    "unaligned": lambda image: image.poke(_extension(image) + 24, 0x80200),
    "directory-size": lambda image: image.poke(_extension(image) + 16, 8),
    "type": lambda image: image.poke(image.places.bitmaps[0].record + 16, 0, 1),
    "extra-data-flag": lambda image: image.poke(image.places.bitmaps[1].record + 12, 4, 4),
    "table-offset": lambda image: image.poke(image.places.bitmaps[0].record, 0x200),
    "table-size": lambda image: image.poke(image.places.bitmaps[0].record + 8, 77, 4),
    "table-entry": lambda image: image.poke(image.places.bitmaps[0].table, 1 << 60),
    "long": lambda image: image.poke(_extension(image) + 4, 40, 4),
}


def test_all_are_marked_once(tmp_path: Path) -> None:
    require_qemu()
    image = sample()
    done = drafted(image, tmp_path, mark_bitmaps_in_use, mark_bitmaps_in_use)
    flags = [done.word(bitmap.record + 12, 4) for bitmap in image.places.bitmaps]
    assert flags == [3, 3]
    assert done.reasons == {"bitmap.in-use": 1}
    assert qemu_check(done.write_to(tmp_path / "after.qcow2")).rc == 0
    for bitmap in image.places.bitmaps:
        image.poke(bitmap.record + 12, 3, 4)
    assert drafted(image, tmp_path, mark_bitmaps_in_use).writes == []


def test_many_are_marked_in_few_steps(tmp_path: Path) -> None:
    image = std_image(bitmaps=tuple(BitmapSpec("b" * 500 + str(n)) for n in range(300)))
    done = drafted(image, tmp_path, mark_bitmaps_in_use)
    assert all(done.word(bitmap.record + 12, 4) == 3 for bitmap in image.places.bitmaps)
    assert len(done.writes) == 3
    assert done.codes() == {"bitmap.in-use"}


def test_bitmaps_that_are_not_valid_are_left(tmp_path: Path) -> None:
    image = sample()
    image.poke(AUTOCLEAR, 0)
    assert drafted(image, tmp_path, mark_bitmaps_in_use).writes == []


def test_a_directory_that_something_else_claims_is_not_written_to(tmp_path: Path) -> None:
    """The flags might be the guest's data; bitmaps that are not announced are as invalid."""
    image = sample()
    image.set_l2(0, 9, image.places.bitmap_directory)
    done = drafted(image, tmp_path, mark_bitmaps_in_use)
    (write,) = done.writes
    assert write.field.kind == "header"
    assert done.word(AUTOCLEAR) == 0


@pytest.mark.parametrize("damage", BAD.values(), ids=BAD)
def test_bad_bitmaps_go(damage: Callable[[BuiltImage], None], tmp_path: Path) -> None:
    require_qemu()
    image = std_image(bitmaps=BITMAPS, extensions=((0x12345678, b"other"),))
    damage(image)
    assert qemu_check(image.write_to(tmp_path / "t.qcow2")).totals is None
    done = drafted(image, tmp_path, drop_bitmaps)
    path = done.write_to(tmp_path / "after.qcow2")
    after = qemu_check(path)
    assert (after.count("corruptions"), after.count("check-errors")) == (0, 0)
    assert after.count("leaks") == done.after.result.statistics.leaks
    assert done.after.image.extensions.extensions[-1].data == b"other"
    assert isinstance(done.result, list)
    assert "given up" in done.result[0]
    assert {write.reason for write in done.writes} == {"bitmap.dropped"}


def test_their_clusters_are_waste_to_the_next_check(tmp_path: Path) -> None:
    """That the extension stays tells whose the leaks were."""
    image = sample()
    image.poke(image.places.bitmaps[0].record + 16, 0, 1)
    after = drafted(image, tmp_path, drop_bitmaps).after
    assert after.result.statistics.leaks == 4
    assert after.judgement is not None
    assert after.result.triage.waste == 4
    assert after.result.triage.orphans == 0


def test_sound_bitmaps_are_kept(tmp_path: Path) -> None:
    done = drafted(std_image(bitmaps=BITMAPS, content={0: Data(1)}), tmp_path, drop_bitmaps)
    assert done.writes == []
    assert isinstance(done.result, list)
    assert "kept" in done.result[0]
