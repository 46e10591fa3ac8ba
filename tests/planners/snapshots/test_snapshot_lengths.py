"""Snapshot records whose extra data has not the length that they claim."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from qcow2_dump.checks.stored import StoredRefcounts
from qcow2_dump.image.image import open_image
from qcow2_dump.planners.repairs import RepairChoice, plan_repair
from tests.builder.built import BuiltImage
from tests.builder.spec import Data, SnapshotSpec
from tests.builder.std import std_image
from tests.planners.carrying_out import carry_out
from tests.support.qemu import qemu_check, require_qemu

# Where a record holds the length of its extra data.
LENGTH = 36


def layered(extra: int = 24) -> BuiltImage:
    snapshots = tuple(
        SnapshotSpec(str(n), f"monday-{n}", {0: Data(n)}, extra_length=extra) for n in (1, 2, 3)
    )
    return std_image(snapshots=snapshots)


def repaired(image: BuiltImage, folder: Path) -> tuple[Path, list[str]]:
    path = image.write_to(folder / "t.qcow2")
    with open_image(path) as opened:
        proposal = plan_repair(opened, RepairChoice(leaks=True, errors=True), can_grow=True)
        carry_out(path, proposal.plan)
        proposal.close()
        return path, proposal.notes


def names(path: Path) -> list[tuple[bytes, bytes]]:
    with open_image(path) as image:
        return [(e.record.id, e.record.name) for e in image.snapshot_table.entries]


@pytest.mark.parametrize(
    ("position", "claimed"),
    [(position, claimed) for position in (0, 1, 2) for claimed in (0, 8, 1025, 0xFFFF_FFFF)]
    # In the last record these only garble the name, which QEMU takes as it is.
    + [(position, claimed) for position in (0, 1) for claimed in (16, 32, 0x10018)],
)
def test_all_records_are_found_again(position: int, claimed: int, tmp_path: Path) -> None:
    require_qemu()
    image = layered()
    record = image.places.snapshot_records[position]
    image.poke(record + LENGTH, claimed, 4)
    path, notes = repaired(image, tmp_path)
    assert names(path) == [(b"%d" % n, b"monday-%d" % n) for n in (1, 2, 3)]
    assert any("extra data" in note for note in notes)
    assert qemu_check(path).rc in (0, 3)


def test_records_that_make_sense_are_not_guessed_at(tmp_path: Path) -> None:
    """Old records are short, which is no reason to look for more in them."""
    path, _ = repaired(layered(extra=16), tmp_path)
    assert path.read_bytes() == layered(extra=16).data.read(0, path.stat().st_size)


def test_what_makes_no_sense_with_any_length_is_left(tmp_path: Path) -> None:
    image = layered()
    record = image.places.snapshot_records[1]
    image.poke(record + LENGTH, 1025, 4)
    image.poke(record, 0x1234)  # an L1 table nowhere
    path, _ = repaired(image, tmp_path)
    start, length = image.places.snapshot_table, image.places.snapshot_table_length
    assert path.read_bytes()[start : start + length] == image.data.read(start, length)
    with open_image(path) as opened:
        cluster = np.array([start >> 16], dtype=np.int64)
        assert StoredRefcounts(opened).values_of(cluster)[0] == 1
