"""Whether a change was interrupted: one look into the folder, and no more where nothing is."""

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from qcow2_dump.errors import InterruptedChangeError
from qcow2_dump.operations.applying import ChangeRun
from qcow2_dump.operations.interrupted import (
    UndoNames,
    interrupted_change,
    refuse_interrupted,
    unsettled_change,
    what_to_do,
)
from qcow2_dump.operations.write_requests import FlagRequest, WriteOptions
from qcow2_dump.plan.undo_files import UndoFile
from qcow2_dump.plan.undo_format import UndoState
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


@pytest.mark.parametrize("content", [b"", bytes(600)])
def test_what_was_never_begun_does_not_count(content: bytes, disk: Path) -> None:
    Path(f"{disk}.qcow2-undo.1").write_bytes(content)
    assert unsettled_change(str(disk)) is None
    refuse_interrupted(str(disk))


def altered(content: bytes, at: int) -> bytes:
    """With one byte changed."""
    return content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :]


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda held: held[:100], "truncated: it ends within its head"),
        (lambda held: altered(held, 3), "not an undo file"),
        (lambda held: altered(held, 30), "altered: the checksum of its head is wrong"),
        (lambda held: altered(held, 500), "altered: the checksum of its head is wrong"),
        (lambda held: held[:-1], "truncated: it has"),
        (lambda held: held[:520], "truncated: it has"),
        (lambda held: altered(held, 520), "altered: the checksum of its metadata is wrong"),
    ],
)
def test_a_damaged_undo_file_of_an_interrupted_change_stays_in_the_way(
    damage: Callable[[bytes], bytes], words: str, disk: Path
) -> None:
    interrupt(disk, flag(disk), 1)
    undo = Path(f"{disk}.qcow2-undo.1")
    undo.write_bytes(damage(undo.read_bytes()))
    assert interrupted_change(str(disk)) is None
    known = unsettled_change(str(disk))
    assert known is not None
    with pytest.raises(InterruptedChangeError) as caught:
        refuse_interrupted(str(disk))
    assert str(undo) in str(caught.value)
    assert words in str(caught.value)
    assert f"move it away once `qcow2-dump check {disk}` finds the image well" in str(caught.value)
    undo.rename(f"{undo}.away")
    refuse_interrupted(str(disk))


@pytest.mark.parametrize("damage", [lambda held: held[:-1], lambda held: altered(held, 520)])
def test_a_damaged_undo_file_of_a_finished_change_is_in_nobodys_way(
    damage: Callable[[bytes], bytes], disk: Path
) -> None:
    with ChangeRun(flag(disk)) as run:
        run.apply()
    undo = Path(f"{disk}.qcow2-undo.1")
    undo.write_bytes(damage(undo.read_bytes()))
    assert unsettled_change(str(disk)) is None


def test_a_pointer_to_what_was_deleted_is_in_nobodys_way(disk: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "kept"
    options = WriteOptions(yes=True, undo_file=str(elsewhere))
    with ChangeRun(replace(flag(disk), options=options)) as run:
        run.apply()
    elsewhere.unlink()
    assert unsettled_change(str(disk)) is None


def test_both_ways_on_are_named_for_a_shell() -> None:
    known = UndoFile(1, "/x/undo", None, 600, UndoState.READY)
    said = what_to_do(known, "-my disk")
    assert "`qcow2-dump undo './-my disk'` takes it back" in said
    assert "`qcow2-dump undo './-my disk' --finish` brings it to its end" in said


def test_a_folder_is_read_once(disk: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[object] = []
    scandir = os.scandir
    monkeypatch.setattr(os, "scandir", lambda folder: read.append(folder) or scandir(folder))
    names = UndoNames()
    for name in ("disk.qcow2", "other.qcow2", "third.qcow2"):
        assert unsettled_change(str(tmp_path / name), names) is None
    assert read == [str(tmp_path)]


@pytest.mark.parametrize("image", ["", "no/such/folder/disk", "with\0zero", "x" * 5000])
def test_names_that_are_no_paths(image: str) -> None:
    assert interrupted_change(image) is None
