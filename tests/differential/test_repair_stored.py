"""Whether guest data is still in the file, and whether it is free."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.corpus import qemu
from tests.corpus.imagefile import ImageFile
from tests.differential.repair_stored import Stored, data_of, stored

L1, BLOCK, DATA = 0x30000, 0x20000, 0x50000
ALL = frozenset((5, 6, 7))


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    """Guest data in the host clusters 5 to 7, zeros in the next."""
    path = tmp_path / "image.qcow2"
    qemu.create(path, 64 << 20)
    qemu.io(path, ["write -P 17 0 192k", "write -P 0 192k 64k"])
    return path


def test_all_of_a_sound_image(disk: Path) -> None:
    data = data_of(disk)
    assert set(data.digests) == ALL
    assert stored(data, disk) == Stored(ALL, ALL, 3)


def test_what_nothing_leads_to_is_there(disk: Path) -> None:
    data = data_of(disk)
    with ImageFile(disk) as image:
        image.put(L1, 0)
    assert stored(data, disk) == Stored(ALL, ALL, 3)
    # QEMU frees and punches it.
    qemu.run(["qemu-img", "check", "-r", "leaks", disk], allowed=(0, 1, 2, 3))
    assert stored(data, disk) == Stored(frozenset(), frozenset(), 3)


def test_what_is_free_is_not_safe(disk: Path) -> None:
    data = data_of(disk)
    with ImageFile(disk) as image:
        image.put(BLOCK + 2 * 6, 0, 2)
    assert stored(data, disk) == Stored(ALL, ALL - {6}, 3)


def test_what_was_written_over_is_gone(disk: Path) -> None:
    data = data_of(disk)
    with ImageFile(disk) as image:
        image.put(DATA, 1)
    assert stored(data, disk) == Stored(ALL - {5}, ALL - {5}, 3)


def test_without_a_header_it_is_there_but_not_safe(disk: Path) -> None:
    data = data_of(disk)
    with ImageFile(disk) as image:
        image.put(0, 0)
    assert stored(data, disk) == Stored(ALL, frozenset(), 3)
