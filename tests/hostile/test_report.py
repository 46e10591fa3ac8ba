"""Pages about hostile images: bounded in time, memory and size."""

import struct
import sys
from pathlib import Path

import pytest

from tests.hostile.raw_image import refcounted_image, snapshot_record
from tests.hostile.running import run

MIB = 1 << 20
LARGEST = 3 * MIB


def _report(path: Path, *, status: int, most: int) -> str:
    page = path.with_suffix(".html")
    command = [sys.executable, "-m", "qcow2_dump", "report", str(path), "-o", str(page)]
    found = run(command, most=most)
    assert found.status == status, found.stderr
    assert page.stat().st_size < LARGEST
    return page.read_text(encoding="utf-8")


def test_an_l1_table_that_leads_to_one_table_everywhere(tmp_path: Path) -> None:
    path = tmp_path / "disk.qcow2"
    entries = 1 << 17
    with refcounted_image(path, 8 * MIB, l1_size=entries, l1_table_offset=MIB) as image:
        image.write(MIB, struct.pack(">Q", 5 << 16 | 1 << 63) * entries)
    assert "not looked at" in _report(path, status=6, most=400)


@pytest.mark.parametrize("name", [b"<" * 200, b"\xff" * 200])
def test_thousands_of_snapshots_of_which_none_can_be_read(tmp_path: Path, name: bytes) -> None:
    path = tmp_path / "disk.qcow2"
    count = 5000
    with refcounted_image(path, 8 * MIB, nb_snapshots=count, snapshots_offset=MIB) as image:
        image.write(MIB, snapshot_record(0x100, 1, b"1", name) * count)
    _report(path, status=5, most=400)
