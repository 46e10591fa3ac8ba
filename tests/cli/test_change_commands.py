"""`snapshot`, `flag`, `edit`, `copy` and `rebase`, in both faces: done, refused, and told."""

import json
from pathlib import Path

import jsonschema
import pytest

from qcow2_dump.cli.main import main
from scripts.generate_docs import DOCS
from tests.builder.spec import Data, SnapshotSpec
from tests.builder.std import std_image
from tests.cli.terminal import run_on_terminal
from tests.support.holder import qemu_holding

SCHEMA = json.loads((DOCS / "plan.schema.json").read_text(encoding="utf-8"))
CORRUPT = 2


@pytest.fixture
def disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A sound image with two snapshots, in the working directory."""
    monkeypatch.chdir(tmp_path)
    snapshots = (
        SnapshotSpec("1", "monday", content={0: Data(1)}),
        SnapshotSpec("2", "tuesday", content={0: Data(2)}),
    )
    return std_image(snapshots=snapshots).write_to(tmp_path / "disk.qcow2")


def word(disk: Path, offset: int, width: int = 8) -> int:
    """The integer at an offset of the file."""
    return int.from_bytes(disk.read_bytes()[offset : offset + width], "big")


@pytest.mark.parametrize(
    ("modern", "classic"),
    [
        ("flag mark disk.qcow2 corrupt", "-M corrupt disk.qcow2"),
        ("snapshot apply disk.qcow2 monday", "-A monday disk.qcow2"),
        ("snapshot delete disk.qcow2 2", "-D 2 disk.qcow2"),
        ("snapshot delete disk.qcow2 all", "-D all disk.qcow2"),
        ("snapshot keep disk.qcow2 snapshot[1]", "-E snapshot[1] disk.qcow2"),
        ("edit disk.qcow2 0x50000 7 --width 4", "-m edit -O 0x50000 -V 7 -w 4 disk.qcow2"),
        (
            "copy disk.qcow2 --from 0x40000 --to 0x60000 --length 16",
            "-m copy -S 0x40000 -O 0x60000 -w 16 disk.qcow2",
        ),
        ("rebase disk.qcow2 base --base", "-m rebase -F base -b disk.qcow2"),
    ],
)
def test_both_faces_do_the_same_and_both_can_be_taken_back(
    modern: str, classic: str, disk: Path
) -> None:
    before = disk.read_bytes()
    assert main([*modern.split(), "--dry-run"]) == 0
    assert disk.read_bytes() == before
    assert main(modern.split()) == 234
    assert disk.read_bytes() == before
    assert main([*modern.split(), "--yes"]) == 0
    by_modern = disk.read_bytes()
    assert by_modern != before
    disk.write_bytes(before)
    assert main([*classic.split(), "--no-undo"]) == 0
    assert disk.read_bytes() == by_modern
    assert main(["undo", "disk.qcow2", "--yes"]) == 0
    assert disk.read_bytes() == before


def test_flags(disk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["flag", "mark", "disk.qcow2", "corrupt", "--yes"]) == 0
    assert word(disk, 72) == CORRUPT
    capsys.readouterr()
    assert main(["flag", "mark", "disk.qcow2", "corrupt", "--yes"]) == 0
    assert "nothing to do" in capsys.readouterr().out
    assert main(["-C", "corrupt", "disk.qcow2"]) == 0
    assert word(disk, 72) == 0


def test_a_version_2_image_has_no_flags(disk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    std_image(version=2, feature_table=False).write_to(disk)
    for line in ("flag mark disk.qcow2 dirty --yes", "-C corrupt disk.qcow2"):
        assert main(line.split()) == 234
        assert "version 2" in capsys.readouterr().err


def test_marking_dirty_what_has_orphans(disk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    image = std_image()
    image.set_l2(0, 1, 0x90000000 | 1 << 63)
    image.write_to(disk)
    assert main(["flag", "mark", "disk.qcow2", "dirty", "--yes"]) == 234
    assert "may be guest data" in capsys.readouterr().err
    assert main(["-M", "dirty", "disk.qcow2"]) == 234
    assert main(["-M", "dirty", "--free-orphans", "--dry-run", "disk.qcow2"]) == 0
    assert main(["flag", "mark", "disk.qcow2", "dirty", "--free-orphans", "--yes"]) == 0
    assert word(disk, 72) == 1


def test_edit_shows_an_integer(disk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["edit", "disk.qcow2", "0x18"]) == 0
    assert capsys.readouterr().out == "0x18: 0x4000000 (67108864)\n"
    assert main(["-m", "edit", "-O", "20", "-w", "4", "disk.qcow2"]) == 0
    assert capsys.readouterr().out == "0x14: 0x10 (16)\n"
    assert main(["edit", "disk.qcow2", "0x18", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    jsonschema.validate(found, SCHEMA)
    assert found["value"] == 64 << 20


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("edit disk.qcow2 {end}", "past the end"),
        ("edit disk.qcow2 {end} 1 --yes", "past the end"),
        ("-m edit -O {end} -V 1 disk.qcow2", "past the end"),
        ("-m edit -O 0 -V 256 -w 1 disk.qcow2", "does not fit"),
        ("copy disk.qcow2 --from 0 --to {end} --length 8 --yes", "past the end"),
        ("copy disk.qcow2 --from {end} --to 0 --length 8 --yes", "past the end"),
        ("copy disk.qcow2 --from 0 --to 0 --length 65537 --yes", "one cluster"),
        ("-m copy -S 0 -O 0 -w 65537 disk.qcow2", "one cluster"),
        ("snapshot apply disk.qcow2 sunday --yes", "there is no snapshot 'sunday'"),
        ("snapshot delete disk.qcow2 snapshot[2] --yes", "there is no snapshot"),
        ("snapshot keep disk.qcow2 active --yes", "there is no snapshot 'active'"),
        ("-A sunday disk.qcow2", "there is no snapshot"),
        ("flag clear disk.qcow2 dirty --free-orphans", "--free-orphans goes with"),
    ],
)
def test_refusals(line: str, words: str, disk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = disk.read_bytes()
    assert main(line.format(end=len(before) - 4).split()) == 234
    said = capsys.readouterr()
    assert words in said.err
    assert said.err.count("\n") == 1
    assert disk.read_bytes() == before
    assert [path.name for path in disk.parent.iterdir()] == ["disk.qcow2"]


def test_a_backing_file_that_is_not_there(disk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["rebase", "disk.qcow2", "gone.qcow2", "--yes"]) == 254
    assert "is not there" in capsys.readouterr().err
    assert main(["rebase", "disk.qcow2", "g" * 1024, "--yes", "--base"]) == 234


def test_bytes_of_what_is_no_image_any_more(disk: Path) -> None:
    before = disk.read_bytes()
    assert main(["edit", "disk.qcow2", "0", "0", "--yes"]) == 0
    assert main(["check", "disk.qcow2"]) == 234
    Path("old").write_bytes(before)
    words = "copy disk.qcow2 --file old --from 0 --to 0 --length 8 --yes"
    assert main(words.split()) == 0
    assert disk.read_bytes() == before
    assert main(["undo", "disk.qcow2", "--yes"]) == 0
    assert word(disk, 0) == 0


def test_snapshots_are_listed(disk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["snapshot", "list", "disk.qcow2"]) == 0
    shown = capsys.readouterr().out
    assert '[0]  1   "monday"' in shown
    assert '[1]  2   "tuesday"' in shown
    assert main(["snapshot", "list", "disk.qcow2", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    jsonschema.validate(found, SCHEMA)
    assert [snapshot["name"] for snapshot in found["snapshots"]] == ["monday", "tuesday"]
    std_image().write_to(disk)
    assert main(["snapshot", "list", "disk.qcow2"]) == 0
    assert capsys.readouterr().out == "disk.qcow2: no snapshots\n"


def test_a_snapshot_that_is_called_all(disk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Deleting ``all`` deletes all; the one of that name alone by its ID."""
    snapshots = (SnapshotSpec("1", "all"), SnapshotSpec("2", "active"))
    std_image(snapshots=snapshots).write_to(disk)
    assert main(["snapshot", "delete", "disk.qcow2", "active", "--yes"]) == 0
    assert word(disk, 60, 4) == 1
    assert main(["snapshot", "delete", "disk.qcow2", "all", "--yes"]) == 0
    assert word(disk, 60, 4) == 0


def test_a_snapshot_applied_is_shown_first(disk: Path) -> None:
    before = disk.read_bytes()
    code, out, _ = run_on_terminal("n\n", "snapshot", "apply", "disk.qcow2", "monday")
    assert code == 234
    assert "snapshot.switch" in out
    assert disk.read_bytes() == before


@pytest.mark.parametrize("flags", [(), ("-r",)])
@pytest.mark.parametrize(
    "line",
    [
        "repair disk.qcow2 --all --yes",
        "undo disk.qcow2 --yes",
        "snapshot apply disk.qcow2 1 --yes",
        "flag mark disk.qcow2 corrupt --yes",
        "edit disk.qcow2 0 1 --yes",
        "copy disk.qcow2 --from 0 --to 8 --length 1 --yes",
        "rebase disk.qcow2 base --base --yes",
    ],
)
def test_refused_while_qemu_has_it_open(
    line: str, flags: tuple[str, ...], disk: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = disk.read_bytes()
    with qemu_holding(disk, *flags):
        assert main(line.split()) == 240
        assert "has it open" in capsys.readouterr().err
        assert main([*line.split(), "--force-unlocked"]) == 240
    assert disk.read_bytes() == before


def test_json_of_every_change(disk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for line, status in (
        ("flag mark disk.qcow2 corrupt --dry-run", "planned"),
        ("flag mark disk.qcow2 corrupt", "declined"),
        ("flag mark disk.qcow2 corrupt --yes", "done"),
        ("flag mark disk.qcow2 corrupt --yes", "nothing-to-do"),
        ("undo disk.qcow2 --yes", "done"),
        ("edit disk.qcow2 0x90000000 1", "error"),
    ):
        main([*line.split(), "--json"])
        found = json.loads(capsys.readouterr().out)
        jsonschema.validate(found, SCHEMA)
        assert found["status"] == status, line
