"""Pages about hostile images: bounded in time, memory and size."""

import struct
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.hostile.raw_image import refcounted_image, snapshot_record
from tests.hostile.running import run

MIB = 1 << 20
TIB = 1 << 40
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


def test_more_clusters_than_fit_the_memory_in_a_file_of_one_hole(tmp_path: Path) -> None:
    """Two thousand million of them: what nobody uses must cost nothing, not even a byte each."""
    path = tmp_path / "disk.qcow2"
    with refcounted_image(path, TIB - 1024, cluster_bits=9):
        pass
    assert "free" in _report(path, status=6, most=500)
    for command in (["du", "--json"], ["map", "--picture"]):
        found = run([sys.executable, "-m", "qcow2_dump", *command, str(path)], most=400)
        assert found.status == 0, found.stderr


def test_counters_that_are_too_many_once_they_must_be_wide(tmp_path: Path) -> None:
    path = tmp_path / "disk.qcow2"
    table = {"refcount_table_offset": MIB, "refcount_table_clusters": 8 * MIB >> 9}
    fields = table | {"cluster_bits": 9, "refcount_order": 6}
    with refcounted_image(path, TIB - 1024, **fields) as image:
        image.table(MIB, np.full(1 << 20, 7 * 512, dtype=np.uint64))
        image.table(7 * 512, np.ones(64, dtype=np.uint64))
    _report(path, status=6, most=600)
