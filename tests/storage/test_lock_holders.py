"""Who holds a lock is told in one printable line, whatever a process calls itself."""

import fcntl
import os
import struct
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from qcow2_dump.storage.lock_holders import lock_holder

_HOLDER = """
import fcntl, os, struct, sys
fd = os.open(sys.argv[1], os.O_RDWR)
first, length = int(sys.argv[2]), int(sys.argv[3])
fcntl.fcntl(fd, fcntl.F_OFD_SETLK, struct.pack("@hhqqi", fcntl.F_RDLCK, 0, first, length, 0))
open("/proc/self/comm", "wb").write(os.fsencode(sys.argv[4]))
print("ready", flush=True)
sys.stdin.read()
"""


@contextmanager
def holding(path: Path, first: int, length: int, name: str, *more: str) -> Iterator[int]:
    """A process with this name that locks bytes of a file."""
    with subprocess.Popen(
        [sys.executable, "-c", _HOLDER, path, str(first), str(length), name, *more],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        yield process.pid
        process.stdin.close()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "file"
    file.write_bytes(bytes(8))
    return file


def holder(path: Path, first: int, last: int | None = None) -> str | None:
    fd = os.open(path, os.O_RDONLY)
    try:
        return lock_holder(fd, first, last)
    finally:
        os.close(fd)


def test_control_characters_and_bytes_that_are_no_text_are_escaped(path: Path) -> None:
    with holding(path, 100, 1, "a\x1b[31m\u202eb\udcff", "x\ny") as process:
        said = holder(path, 100)
    assert said is not None
    assert said.isprintable()
    assert said.startswith(f"a\\x1b[31m\\u202eb\\xff (process {process}: {sys.executable} -c ")


def test_a_long_command_line_is_cut(path: Path) -> None:
    with holding(path, 100, 1, "long", "x" * 100_000):
        said = holder(path, 100)
    assert said is not None
    assert said.endswith("…)")
    assert len(said) < 400


@pytest.mark.parametrize(
    ("first", "last", "found"),
    [
        *((99, None, False), (100, None, True), (109, None, True), (110, None, False)),
        *((0, 99, False), (0, 100, True), (105, 106, True), (109, 500, True), (110, 500, False)),
    ],
)
def test_which_bytes_are_asked_for(path: Path, first: int, last: int | None, found: bool) -> None:
    with holding(path, 100, 10, "ten"):
        assert (holder(path, first, last) is not None) == found


def test_a_lock_up_to_the_end_of_time(path: Path) -> None:
    with holding(path, 100, 0, "all") as process:
        assert str(holder(path, 10**9)).startswith(f"all (process {process}: ")
        assert holder(path, 0, 99) is None


def test_of_several_holders_one_is_told(path: Path) -> None:
    with holding(path, 100, 1, "one") as first, holding(path, 102, 1, "two") as second:
        assert str(holder(path, 100, 104)).partition(" ")[0] == ("one", "two")[second < first]
        assert str(holder(path, 101, 104)).startswith("two ")


def test_another_file_is_not_meant(path: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.touch()
    with holding(path, 100, 1, "one"):
        assert holder(other, 100) is None


def test_this_process_is_not_told(path: Path) -> None:
    fd = os.open(path, os.O_RDWR)
    try:
        lock = struct.pack("@hhqqi", fcntl.F_WRLCK, os.SEEK_SET, 100, 1, 0)
        fcntl.fcntl(fd, fcntl.F_OFD_SETLK, lock)
        assert holder(path, 100) is None
    finally:
        os.close(fd)
