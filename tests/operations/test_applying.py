"""What was written is read back from the disk, all of it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from qcow2_dump.errors import SourceError
from qcow2_dump.operations.applying import OpenedFile
from qcow2_dump.operations.write_requests import WriteOptions
from qcow2_dump.plan import read_back as read_back_module
from qcow2_dump.plan.apply import apply_plan
from qcow2_dump.plan.model import Plan, Resize
from tests.plan.disk import make_plan

SIZE = 10 << 20
LONG = 3 << 20
EARLY = (2 << 20) - 2000
CHANGES: list[tuple[int, bytes] | int | None] = [
    (100, b"x" * 700),
    (LONG - 7, os.urandom(5 << 19)),
    None,
    # Over a part of what was written before.
    (LONG + 4096, b"y" * 4096),
    (EARLY, b"w" * ((1 << 20) + 4000)),
    SIZE + 5000,
    (SIZE + 10, b"the end"),
]
WRITTEN = [(100, 800), (EARLY, LONG - 7 + (5 << 19)), (SIZE + 10, SIZE + 17)]


@pytest.fixture
def written(tmp_path: Path) -> tuple[Path, Plan]:
    path = tmp_path / "disk"
    content = os.urandom(SIZE)
    path.write_bytes(content)
    plan = make_plan(content, CHANGES)
    opened = OpenedFile(str(path), WriteOptions())
    apply_plan(plan, opened.target, None)
    opened.read_back(plan)
    opened.source.close()
    return path, plan


@pytest.mark.parametrize("at", [100, 799, LONG - 7, LONG, LONG + 5000, (11 << 19) - 8, SIZE + 16])
def test_a_byte_that_reads_differently_is_found(written: tuple[Path, Plan], at: int) -> None:
    path, plan = written
    with path.open("r+b") as file:
        file.seek(at)
        byte = file.read(1)
        file.seek(at)
        file.write(bytes([byte[0] ^ 1]))
    opened = OpenedFile(str(path), WriteOptions())
    with pytest.raises(SourceError, match="reads differently"):
        opened.read_back(plan)
    opened.source.close()


@pytest.mark.parametrize("window", [16 << 20, 1 << 20])
def test_what_the_system_holds_is_forgotten_before_it_is_read(
    written: tuple[Path, Plan], monkeypatch: pytest.MonkeyPatch, window: int
) -> None:
    """Also where a write that overlaps one before it begins in an earlier window than that."""
    path, plan = written
    monkeypatch.setattr(read_back_module, "_WINDOW", window)
    opened = OpenedFile(str(path), WriteOptions())
    forgotten: list[tuple[int, int]] = []
    read: list[tuple[int, int]] = []
    really, into = opened.source.read, opened.source.read_into

    def forget(offset: int, length: int) -> None:
        assert all(end <= offset for _, end in read), "what was read is not asked for again"
        forgotten.append((offset, offset + length))

    def note(offset: int, length: int) -> None:
        read.append((offset, offset + length))
        covered = [(max(low, offset), min(high, offset + length)) for low, high in forgotten]
        assert sum(max(0, high - low) for low, high in covered) == length

    def read_here(offset: int, length: int) -> bytes:
        note(offset, length)
        return really(offset, length)

    def read_into(offset: int, buffer: memoryview) -> None:
        note(offset, len(buffer))
        into(offset, buffer)

    monkeypatch.setattr(opened.source, "forget", forget)
    monkeypatch.setattr(opened.source, "read", read_here)
    monkeypatch.setattr(opened.source, "read_into", read_into)
    opened.read_back(plan)
    opened.source.close()
    for start, end in WRITTEN:
        inside = sorted(span for span in read if start <= span[0] < end)
        reached = start
        for low, high in inside:
            assert low <= reached
            reached = max(reached, high)
        assert reached == end


def test_what_is_cut_off_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "disk"
    path.write_bytes(b"z" * 512 + bytes(4096))
    plan = make_plan(path.read_bytes(), [(0, b"a" * 512), (600, bytes(700)), 512])
    assert isinstance(plan.steps[-1], Resize)
    opened = OpenedFile(str(path), WriteOptions())
    apply_plan(plan, opened.target, None)
    opened.read_back(plan)
    opened.source.close()
