"""Whether a change was interrupted: one look into the folder, and no more where nothing is."""

import os
from pathlib import Path

import pytest

from qcow2_dump.errors import InterruptedChangeError
from qcow2_dump.operations.interrupted import UndoNames, interrupted_change, refuse_interrupted
from qcow2_dump.operations.write_requests import FlagRequest, WriteOptions
from tests.builder.std import std_image
from tests.cli.interrupting import interrupt


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    return std_image().write_to(tmp_path / "disk.qcow2")


def flag(disk: Path) -> FlagRequest:
    """A change of one write."""
    return FlagRequest(
        image=str(disk), action="mark", flag="corrupt", options=WriteOptions(yes=True)
    )


def test_a_change_that_was_begun(disk: Path) -> None:
    assert interrupted_change(str(disk)) is None
    refuse_interrupted(str(disk))
    interrupt(disk, flag(disk), 1)
    known = interrupted_change(str(disk))
    assert known is not None
    assert known.path == f"{disk}.qcow2-undo.1"
    with pytest.raises(InterruptedChangeError, match=r"undo\.1"):
        refuse_interrupted(str(disk))


def test_it_is_seen_through_a_link(disk: Path, tmp_path: Path) -> None:
    interrupt(disk, flag(disk), 0)
    link = tmp_path / "elsewhere" / "link"
    link.parent.mkdir()
    link.symlink_to(disk)
    assert interrupted_change(str(link)) is not None


def test_those_of_other_images_do_not_count(disk: Path, tmp_path: Path) -> None:
    other = std_image().write_to(tmp_path / "disk.qcow2.old")
    interrupt(other, flag(other), 0)
    assert interrupted_change(str(disk)) is None


@pytest.mark.parametrize("content", [b"", b"something else", bytes(600)])
def test_what_is_only_called_so_does_not_count(content: bytes, disk: Path) -> None:
    Path(f"{disk}.qcow2-undo.1").write_bytes(content)
    assert interrupted_change(str(disk)) is None


def test_a_folder_is_read_once(disk: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[object] = []
    scandir = os.scandir
    monkeypatch.setattr(os, "scandir", lambda folder: read.append(folder) or scandir(folder))
    names = UndoNames()
    for name in ("disk.qcow2", "other.qcow2", "third.qcow2"):
        assert interrupted_change(str(tmp_path / name), names) is None
    assert read == [str(tmp_path)]


@pytest.mark.parametrize("image", ["", "no/such/folder/disk", "with\0zero", "x" * 5000])
def test_names_that_are_no_paths(image: str) -> None:
    assert interrupted_change(image) is None
