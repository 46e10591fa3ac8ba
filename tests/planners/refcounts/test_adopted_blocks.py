"""A refcount block whose table entry carries stray bits is taken as it is, not made anew."""

from __future__ import annotations

from pathlib import Path

import pytest

from qcow2_dump import open_image
from qcow2_dump.planners.repairs import RepairChoice, plan_repair
from tests.builder.std import std_image
from tests.corpus.imagefile import ImageFile

TABLE = 0x10000


@pytest.mark.parametrize("stray", [1, 0x100])
def test_only_the_stray_bits_go(stray: int, tmp_path: Path) -> None:
    path = std_image().write_to(tmp_path / "image.qcow2")
    with ImageFile(path) as file:
        file.put(TABLE, file.get(TABLE) | stray)
    with open_image(path) as image:
        proposal = plan_repair(image, RepairChoice(leaks=True, errors=True), can_grow=True)
        writes = list(proposal.plan.writes())
        changed = [(write.offset, write.reason, write.count) for write in writes]
        assert proposal.plan.new_size == proposal.plan.size
        proposal.close()
    assert changed == [(TABLE, "refcount.table-entry", 1)]
