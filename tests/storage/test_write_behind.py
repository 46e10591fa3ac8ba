"""When the disk is asked to begin, and that it is never more than a hint."""

import os
from pathlib import Path

import pytest

from qcow2_dump.storage.writable import WritableFile
from qcow2_dump.storage.write_behind import WriteBehind

MIB = 1 << 20


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """The ranges that the system is told of, as offset and length."""
    if not hasattr(os, "posix_fadvise"):
        pytest.skip("this system takes no hints")
    ranges: list[tuple[int, int]] = []

    def note(_fd: int, offset: int, length: int, advice: int) -> None:
        assert advice == os.POSIX_FADV_DONTNEED
        ranges.append((offset, length))

    monkeypatch.setattr(os, "posix_fadvise", note)
    return ranges


def test_what_follows_each_other_is_told_of_in_long_stretches(told: list[tuple[int, int]]) -> None:
    behind = WriteBehind(9)
    for at in range(5 * MIB, 22 * MIB, MIB):
        behind.wrote(at, at + MIB)
    assert told == [(5 * MIB, 8 * MIB), (13 * MIB, 8 * MIB)]


def test_small_gaps_are_told_of_as_well(told: list[tuple[int, int]]) -> None:
    behind = WriteBehind(9)
    for at in range(MIB, 9 * MIB, MIB):
        behind.wrote(at + 65536, at + MIB)
    behind.wrote(99 * MIB, 99 * MIB)
    assert told == [(MIB + 65536, 8 * MIB - 65536)]


def test_what_stands_alone_is_told_of_once_something_else_is_written(
    told: list[tuple[int, int]],
) -> None:
    behind = WriteBehind(9)
    for at in (MIB, 2 * MIB, 4 * MIB):
        behind.wrote(at, at + 65536)
    assert told == [(MIB, 65536), (2 * MIB, 65536)]


def test_what_is_short_waits_for_the_sync(told: list[tuple[int, int]]) -> None:
    behind = WriteBehind(9)
    for at in range(0, 40 * MIB, MIB):
        behind.wrote(at, at + 4096)
    assert told == []


def test_the_image_is_followed(tmp_path: Path, told: list[tuple[int, int]]) -> None:
    path = tmp_path / "image"
    path.write_bytes(bytes(10 * MIB))
    with WritableFile(path) as file:
        for at in range(0, 9 * MIB, MIB):
            file.write_at(at, b"x" * MIB)
    assert told == [(0, 8 * MIB)]


def test_a_system_that_takes_no_hints_is_none_the_worse(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError

    path = tmp_path / "image"
    path.write_bytes(bytes(9 * MIB))
    for hint in (refuse, None):
        if hint is None:
            monkeypatch.delattr(os, "posix_fadvise", raising=False)
        else:
            monkeypatch.setattr(os, "posix_fadvise", hint, raising=False)
        with WritableFile(path) as file:
            file.write_at(0, b"y" * 9 * MIB)
        assert path.read_bytes() == b"y" * 9 * MIB
