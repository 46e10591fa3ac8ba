"""After a repair the report names what is left, and whether there was anything to do or not."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.builder.std import std_image
from tests.corpus.imagefile import ImageFile
from tests.differential.repair_ours import run

L2 = 0x40000
LINES = (
    "  left as it is:\n",
    "  l2.unaligned   1 L2 entry does not point to the start of a cluster\n",
    "guest 0x10000-0x1ffff   active\n",
    "      -> cannot be mended; repair --drop-unusable gives these guest ranges up\n",
)


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    """One entry inside a cluster, whose claims leave no doubt about refcounts."""
    path = std_image().write_to(tmp_path / "disk.qcow2")
    with ImageFile(path) as image:
        image.put(L2 + 8, 0x60200)
        image.put(L2 + 16, 0)
    return path


def test_what_is_left_is_named(disk: Path) -> None:
    with ImageFile(disk) as image:
        image.put(L2, image.get(L2) & ~(1 << 63))
    done = run("repair", "--all", "--yes", disk)
    assert done.status == 6
    assert "repaired: " in done.out
    assert all(line in done.out for line in LINES), done.out
    again = run("repair", "--all", "--yes", disk)
    assert "  nothing to do\n" in again.out
    assert all(line in again.out for line in LINES), again.out


def test_nothing_is_said_where_nothing_is_left(disk: Path) -> None:
    done = run("repair", "--all", "--drop-unusable", "--yes", disk)
    assert "left as it is" not in done.out, done.out


def test_other_changes_do_not_list_it(disk: Path) -> None:
    done = run("flag", "mark", disk, "corrupt", "--yes")
    assert "left as it is" not in done.out
