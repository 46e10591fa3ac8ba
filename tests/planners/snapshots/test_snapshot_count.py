"""A number of snapshots that cannot be, and records that tell how many there are."""

from __future__ import annotations

from pathlib import Path

import pytest

from qcow2_dump.image.image import open_image
from qcow2_dump.planners.repairs import RepairChoice, plan_repair
from tests.builder.built import BuiltImage
from tests.builder.spec import Data, SnapshotSpec
from tests.builder.std import std_image
from tests.planners.carrying_out import carry_out
from tests.support.qemu import qemu_check, require_qemu

COUNT, OFFSET = 60, 64


def layered() -> BuiltImage:
    snapshots = tuple(SnapshotSpec(str(n), f"monday-{n}", {0: Data(n)}) for n in (1, 2, 3))
    return std_image(snapshots=snapshots)


def repaired(image: BuiltImage, folder: Path) -> tuple[Path, int]:
    """The image after a repair, and how many snapshots it counts then."""
    path = image.write_to(folder / "t.qcow2")
    with open_image(path) as opened:
        proposal = plan_repair(opened, RepairChoice(leaks=True, errors=True), can_grow=True)
        carry_out(path, proposal.plan)
        proposal.close()
    with open_image(path) as opened:
        return path, opened.header.nb_snapshots


@pytest.mark.parametrize("count", [65_537, 0x1000_0003, 0xFFFF_FFFF])
def test_the_records_tell_the_number(count: int, tmp_path: Path) -> None:
    require_qemu()
    image = layered()
    image.poke(COUNT, count, 4)
    path, counted = repaired(image, tmp_path)
    assert counted == 3
    assert qemu_check(path).rc == 0


def test_without_a_table_there_are_none(tmp_path: Path) -> None:
    require_qemu()
    image = std_image()
    image.poke(COUNT, 0xAD96_2F45, 4)
    path, counted = repaired(image, tmp_path)
    assert counted == 0
    assert qemu_check(path).rc == 0


def test_a_number_that_may_be_right_stays(tmp_path: Path) -> None:
    """Where the pointer is lost it is the last trace of the snapshots."""
    image = layered()
    image.poke(OFFSET, 0)
    assert repaired(image, tmp_path)[1] == 3


def test_what_follows_the_records_has_to_be_nothing(tmp_path: Path) -> None:
    image = layered()
    image.poke(COUNT, 0x1000_0003, 4)
    end = image.places.snapshot_table + (image.places.snapshot_table_length + 7 & ~7)
    image.poke(end + 8, 1)
    assert repaired(image, tmp_path)[1] == 0x1000_0003
