"""What tells that an image was used since a change: all that QEMU's use changes, and no more."""

import os
from pathlib import Path

import pytest

from qcow2_dump.image.state_digest import source_digest
from qcow2_dump.storage.file import FileSource
from qcow2_dump.storage.memory import MemorySource
from tests.builder.spec import SnapshotSpec
from tests.builder.std import std_image


def image() -> bytearray:
    """An image with a snapshot."""
    return bytearray(std_image(snapshots=(SnapshotSpec("1", "monday"),)).data.to_bytes())


def digest(data: bytes | bytearray) -> str:
    return source_digest(MemorySource(data))


@pytest.mark.parametrize(
    "offset", [72, 0x10000, 0x10008, 0x20000, 0x2000D, 0x30000], ids="{:#x}".format
)
def test_what_is_covered(offset: int) -> None:
    data = image()
    before = digest(data)
    data[offset] ^= 0x40
    assert digest(data) != before


def test_the_tables_of_snapshots_are_covered() -> None:
    built = std_image(snapshots=(SnapshotSpec("1", "monday"),))
    data = bytearray(built.data.to_bytes())
    before = digest(data)
    for offset in (built.places.snapshot_table + 16, built.snapshots[0].l1 + 7):
        changed = bytearray(data)
        changed[offset] ^= 1
        assert digest(changed) != before


def test_guest_data_is_not() -> None:
    built = std_image()
    data = bytearray(built.data.to_bytes())
    before = digest(data)
    data[built.active.data[0]] ^= 1
    assert digest(data) == before


def test_holes_are_zeros(tmp_path: Path) -> None:
    data = image()
    full, sparse = tmp_path / "full", tmp_path / "sparse"
    full.write_bytes(data)
    with sparse.open("wb") as file:
        for start in range(0, len(data), 4096):
            if any(data[start : start + 4096]):
                file.seek(start)
                file.write(data[start : start + 4096])
        file.truncate(len(data))
    with FileSource(full) as one, FileSource(sparse) as other:
        assert source_digest(one) == source_digest(other) == digest(data)


def test_any_bytes_have_a_digest() -> None:
    data = image()
    for offset in (8, 40, 48, 56, 60, 64):
        for value in (0xFF, 0x01):
            wild = bytearray(data)
            wild[offset : offset + 4] = bytes([value] * 4)
            assert digest(wild) == digest(wild)
    assert digest(b"") != digest(b"no image") != digest(os.urandom(4096))


def test_a_huge_sparse_table_costs_nothing(tmp_path: Path) -> None:
    data = image()
    data[56:60] = (1 << 24).to_bytes(4, "big")
    path = tmp_path / "disk.qcow2"
    path.write_bytes(data)
    os.truncate(path, 1 << 43)
    with FileSource(path) as source:
        assert len(source_digest(source)) == 64
