"""`undo`: back to every byte, refused where that would lose something, and after a crash."""

import errno
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import jsonschema
import pytest

from qcow2_dump.cli.main import main
from qcow2_dump.errors import SourceError
from qcow2_dump.operations.applying import OpenedFile
from qcow2_dump.operations.write_requests import RepairRequest, WriteOptions
from scripts.generate_docs import DOCS
from tests.builder.spec import SnapshotSpec
from tests.builder.std import std_image
from tests.cli.interrupting import interrupt
from tests.cli.running import environment, run
from tests.cli.terminal import run_on_terminal
from tests.support.tools import require_tool

SCHEMA = json.loads((DOCS / "plan.schema.json").read_text(encoding="utf-8"))
REPAIR = RepairRequest(image="disk.qcow2", everything=True, options=WriteOptions(yes=True))


@pytest.fixture
def disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An image with a refcount too low and a stray bit, in the working directory."""
    monkeypatch.chdir(tmp_path)
    image = std_image(snapshots=(SnapshotSpec("1", "monday"),))
    image.set_refcount(6, 0)
    image.set_l2(0, 1, image.peek(0x40008) | 2)
    return image.write_to(tmp_path / "disk.qcow2")


def mend() -> None:
    assert main(["repair", "disk.qcow2", "--all", "--yes"]) == 0


def test_back_and_forth(disk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    damaged = disk.read_bytes()
    mend()
    mended = disk.read_bytes()
    assert main(["undo", "disk.qcow2", "--yes"]) == 0
    assert disk.read_bytes() == damaged
    capsys.readouterr()
    assert main(["undo", "disk.qcow2", "--yes"]) == 0
    assert disk.read_bytes() == mended
    shown = capsys.readouterr().out
    assert shown.startswith("disk.qcow2: taken back: ")
    assert "undo file: " in shown


def test_a_dry_run_shows_the_way_back(disk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mend()
    mended = disk.read_bytes()
    capsys.readouterr()
    assert main(["undo", "disk.qcow2", "--dry-run"]) == 0
    shown = capsys.readouterr().out
    assert "refcount of cluster 6 (file offset 0x2000c): 2 -> 0" in shown
    assert shown.endswith("next: qcow2-dump undo disk.qcow2 --yes\n")
    assert disk.read_bytes() == mended


def test_it_is_agreed_to_first(disk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mend()
    mended = disk.read_bytes()
    assert main(["undo", "disk.qcow2"]) == 234
    assert "--yes" in capsys.readouterr().err
    assert run_on_terminal("n\n", "undo", "disk.qcow2")[0] == 234
    assert disk.read_bytes() == mended
    assert run_on_terminal("y\n", "undo", "disk.qcow2")[0] == 0
    assert disk.read_bytes() != mended


def test_refused_when_the_image_was_used_since(
    disk: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mend()
    with disk.open("r+b") as file:
        file.seek(0x20000 + 2 * 200)
        file.write(b"\0\1")
    used = disk.read_bytes()
    assert main(["undo", "disk.qcow2", "--yes"]) == 251
    assert "used since" in capsys.readouterr().err
    assert disk.read_bytes() == used


def test_nothing_to_take_back(disk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["undo", "disk.qcow2", "--yes"]) == 234
    assert "there is no undo file" in capsys.readouterr().err
    assert main(["undo", "disk.qcow2", "--finish", "--yes"]) == 234
    assert "nothing to finish" in capsys.readouterr().err


def test_an_altered_undo_file(disk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mend()
    undo = Path("disk.qcow2.qcow2-undo.1")
    held = bytearray(undo.read_bytes())
    held[-1] ^= 1
    undo.write_bytes(held)
    mended = disk.read_bytes()
    assert main(["undo", "disk.qcow2", "--yes"]) == 251
    assert "altered" in capsys.readouterr().err
    assert disk.read_bytes() == mended


def test_the_list(disk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["undo", "disk.qcow2", "--list"]) == 0
    assert capsys.readouterr().out == "disk.qcow2: there is no undo file beside it\n"
    mend()
    Path("disk.qcow2.qcow2-undo.7").write_bytes(b"something else")
    capsys.readouterr()
    assert main(["undo", "disk.qcow2", "--list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "undo.7: cannot be used" in lines[0]
    assert "undo.1: finished" in lines[2]
    assert lines[-1] == "next: qcow2-dump undo disk.qcow2 --dry-run"
    assert main(["undo", "disk.qcow2", "--list", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    jsonschema.validate(found, SCHEMA)
    assert [known["state"] for known in found["undo_files"]] == ["unusable", "finished"]


READERS = [
    "check disk.qcow2",
    "info disk.qcow2",
    "dump disk.qcow2",
    "map disk.qcow2",
    "locate disk.qcow2 --guest 0",
    "-m check disk.qcow2",
    "-m error disk.qcow2",
    "-m dump disk.qcow2",
    "-m info disk.qcow2",
    "snapshot list disk.qcow2",
    "edit disk.qcow2 0",
]
WRITERS = [
    "repair disk.qcow2 --all --yes",
    "repair disk.qcow2",
    "snapshot apply disk.qcow2 1 --yes",
    "flag mark disk.qcow2 corrupt --yes",
    "edit disk.qcow2 0 1 --yes",
    "copy disk.qcow2 --from 0 --to 8 --length 1 --yes",
    "rebase disk.qcow2 base --base --yes",
    "-R all disk.qcow2",
    "-A 1 disk.qcow2",
    "-M corrupt disk.qcow2",
    "-m edit -O 0 -V 1 disk.qcow2",
]


@pytest.mark.parametrize("line", READERS)
def test_every_reader_says_that_a_change_was_interrupted(
    line: str, disk: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(line.split())
    quiet = capsys.readouterr()
    assert "interrupted" not in quiet.err
    interrupt(disk, REPAIR, 0)
    main(line.split())
    said = capsys.readouterr()
    notice = [line for line in said.err.splitlines() if "interrupted" in line]
    assert len(notice) == 1
    assert "`qcow2-dump undo disk.qcow2` takes it back" in notice[0]
    assert "`qcow2-dump undo disk.qcow2 --finish`" in notice[0]
    assert ("seconds" in said.out) or len(said.out.splitlines()) == len(quiet.out.splitlines())


def test_the_check_document_names_an_interrupted_change(
    disk: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def checked() -> dict[str, Any]:
        main(["check", "--json", "disk.qcow2"])
        found = json.loads(capsys.readouterr().out)
        jsonschema.validate(found, json.loads((DOCS / "check.schema.json").read_text("utf-8")))
        return cast(dict[str, Any], found)

    assert checked()["interrupted"] is None
    interrupt(disk, REPAIR, 1)
    known = checked()["interrupted"]
    assert known["undo_file"].endswith("disk.qcow2.qcow2-undo.1")
    assert known["usable"] is True
    assert "`qcow2-dump undo disk.qcow2` takes it back" in known["message"]
    os.truncate("disk.qcow2.qcow2-undo.1", 1000)
    assert checked()["interrupted"]["usable"] is False
    disk.write_bytes(b"no image")
    failed = checked()
    assert failed["status"] == "error"
    assert failed["interrupted"]["usable"] is False


@pytest.mark.parametrize("line", WRITERS)
def test_every_writer_refuses_until_it_is_settled(
    line: str, disk: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    interrupt(disk, REPAIR, 1)
    half = disk.read_bytes()
    assert main(line.split()) == 240
    said = capsys.readouterr().err
    assert "interrupted" in said
    assert "`qcow2-dump undo disk.qcow2` takes it back" in said
    assert "`qcow2-dump undo disk.qcow2 --finish`" in said
    assert disk.read_bytes() == half


@pytest.mark.parametrize("line", READERS)
@pytest.mark.parametrize("length", [100, 1000])
def test_every_reader_says_that_an_undo_file_is_damaged(
    line: str, length: int, disk: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    interrupt(disk, REPAIR, 1)
    os.truncate("disk.qcow2.qcow2-undo.1", length)
    main(line.split())
    notice = [line for line in capsys.readouterr().err.splitlines() if "qcow2-undo.1" in line]
    assert len(notice) == 1
    assert "truncated" in notice[0]
    assert "move it away once `qcow2-dump check disk.qcow2` finds the image well" in notice[0]


@pytest.mark.parametrize("line", [*WRITERS, "undo disk.qcow2 --yes", "undo disk.qcow2 --dry-run"])
@pytest.mark.parametrize("length", [100, 1000])
def test_every_writer_refuses_beside_a_damaged_undo_file(
    line: str, length: int, disk: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    interrupt(disk, REPAIR, 1)
    os.truncate("disk.qcow2.qcow2-undo.1", length)
    half = disk.read_bytes()
    assert main(line.split()) == 240
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "qcow2-undo.1" in said
    assert "truncated" in said
    assert disk.read_bytes() == half


def test_nobody_is_asked_about_an_undo_file_that_cannot_be_used(disk: Path) -> None:
    interrupt(disk, REPAIR, 1)
    os.truncate("disk.qcow2.qcow2-undo.1", 100)
    code, _, shown = run_on_terminal("back\n", "repair", "disk.qcow2", "--all")
    assert code == 240
    assert "What shall be done" not in shown


def test_a_finished_change_whose_undo_file_is_damaged(
    disk: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mend()
    os.truncate("disk.qcow2.qcow2-undo.1", 1000)
    capsys.readouterr()
    assert main(["check", "disk.qcow2"]) == 0
    assert main(["flag", "mark", "disk.qcow2", "corrupt", "--dry-run"]) == 0
    assert capsys.readouterr().err == ""
    assert main(["undo", "disk.qcow2", "--yes"]) == 251
    assert "truncated" in capsys.readouterr().err


@pytest.mark.parametrize("writes", [0, 1, 2])
def test_an_interrupted_change_is_taken_back_or_finished(
    writes: int, disk: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    damaged = disk.read_bytes()
    mend()
    mended = disk.read_bytes()
    for line, wanted in (("--yes", damaged), ("--finish --yes", mended)):
        disk.write_bytes(damaged)
        for name in Path().glob("*.qcow2-undo.*"):
            name.unlink()
        interrupt(disk, REPAIR, writes)
        assert main(["undo", "disk.qcow2", *line.split()]) == 0
        assert disk.read_bytes() == wanted
        assert main(["check", "disk.qcow2"]) == (0 if wanted == mended else 6)
        assert "interrupted" not in capsys.readouterr().err


def test_without_consent_an_interrupted_change_stays(
    disk: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    interrupt(disk, REPAIR, 1)
    half = disk.read_bytes()
    assert main(["undo", "disk.qcow2"]) == 234
    assert main(["undo", "disk.qcow2", "--dry-run"]) == 0
    assert "was interrupted" in capsys.readouterr().out
    assert disk.read_bytes() == half


@pytest.mark.parametrize(("answer", "status"), [("back\n", 0), ("f\n", 0), ("\n", 234)])
def test_a_terminal_is_asked_what_shall_become_of_it(answer: str, status: int, disk: Path) -> None:
    damaged = disk.read_bytes()
    interrupt(disk, REPAIR, 1)
    half = disk.read_bytes()
    code, _, shown = run_on_terminal(answer, "undo", "disk.qcow2")
    assert code == status
    assert "an earlier change was interrupted" in shown
    after = disk.read_bytes()
    assert (after == damaged) == (answer == "back\n")
    assert (after == half) == (answer == "\n")


def test_a_writer_on_a_terminal_settles_it_and_goes_on(disk: Path) -> None:
    interrupt(disk, REPAIR, 1)
    code, out, _ = run_on_terminal("back\ny\n", "repair", "disk.qcow2", "--all")
    assert code == 0
    assert "taken back" in out
    assert "disk.qcow2: GOOD" in out


STOPPED = """
import os, signal, sys
from qcow2_dump.cli.main import main
from qcow2_dump.storage.writable import WritableFile
write_at = WritableFile.write_at
def stopping(self, offset, data):
    write_at(self, offset, data)
    os.kill(os.getpid(), signal.{name})
WritableFile.write_at = stopping
sys.exit(main(["repair", "disk.qcow2", "--all", "--yes"]))
"""


@pytest.mark.parametrize(("name", "status"), [("SIGTERM", 143), ("SIGINT", 130)])
def test_a_signal_while_writing_rolls_back(name: str, status: int, disk: Path) -> None:
    damaged = disk.read_bytes()
    done = subprocess.run(
        [sys.executable, "-c", STOPPED.format(name=name)],
        capture_output=True,
        text=True,
        env=environment(),
        timeout=60,
        check=False,
    )
    assert done.returncode == status, done.stderr
    assert done.stderr == (
        "qcow2-dump repair: disk.qcow2: interrupted, and the image is as it was\n"
    )
    assert disk.read_bytes() == damaged
    assert [path.name for path in disk.parent.iterdir()] == ["disk.qcow2"]


STOPPED_AT = """
import os, signal, sys
from qcow2_dump.cli.main import main
from qcow2_dump.{module} import {owner}
def stopping(*arguments, **more):
    os.kill(os.getpid(), signal.{signal})
{owner}.{function} = stopping
sys.exit(main({words} + ["--json"]))
"""
WRITE = {"module": "storage.writable", "owner": "WritableFile", "function": "write_at"}
CHECK = {"module": "checks.checker", "owner": "Checker", "function": "run"}
LOOK = {"module": "operations.applying", "owner": "OpenedFile", "function": "read_back"}


def stopped_at(place: dict[str, str], words: list[str], name: str) -> tuple[int, dict[str, object]]:
    """Status and document of a run that gets a signal at a place."""
    done = subprocess.run(
        [sys.executable, "-c", STOPPED_AT.format(**place, signal=name, words=words)],
        capture_output=True,
        text=True,
        env=environment(),
        timeout=60,
        check=False,
    )
    found = json.loads(done.stdout)
    jsonschema.validate(found, SCHEMA)
    return done.returncode, found


@pytest.mark.parametrize(
    ("place", "words"),
    [(WRITE, "interrupted, and the image is as it was"), (CHECK, "nothing was written")],
)
@pytest.mark.parametrize(("name", "status"), [("SIGTERM", 143), ("SIGINT", 130)])
def test_a_signal_has_a_document_too(
    place: dict[str, str], words: str, name: str, status: int, disk: Path
) -> None:
    damaged = disk.read_bytes()
    code, found = stopped_at(place, ["repair", "disk.qcow2", "--all", "--yes"], name)
    assert (code, found["exit_status"], found["status"]) == (status, status, "interrupted")
    assert words in str(found["error"])
    assert disk.read_bytes() == damaged


def test_a_signal_after_the_change_has_a_document_that_says_it_is_made(disk: Path) -> None:
    damaged = disk.read_bytes()
    code, found = stopped_at(LOOK, ["repair", "disk.qcow2", "--all", "--yes"], "SIGINT")
    assert (code, found["exit_status"], found["status"]) == (130, 130, "interrupted")
    assert found["applied"] is True
    assert "the change is complete" in str(found["error"])
    assert found["undo_command"] == "qcow2-dump undo disk.qcow2"
    assert disk.read_bytes() != damaged


def test_a_failing_look_afterwards_says_that_the_change_is_made(
    disk: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    damaged = disk.read_bytes()

    def fail(*_arguments: object) -> None:
        raise SourceError(errno.EIO, "cannot read", "disk.qcow2")

    monkeypatch.setattr(OpenedFile, "read_back", fail)
    assert main(["repair", "disk.qcow2", "--all", "--yes", "--json"]) == 251
    said = capsys.readouterr()
    assert "cannot read; the change is complete" in said.err
    assert "cannot read; the change is complete" in json.loads(said.out)["error"]
    assert disk.read_bytes() != damaged


def test_a_signal_while_an_interrupted_change_is_settled(disk: Path) -> None:
    interrupt(disk, REPAIR, 2)
    half = disk.read_bytes()
    code, found = stopped_at(WRITE, ["undo", "disk.qcow2", "--yes"], "SIGINT")
    assert (code, found["status"]) == (130, "interrupted")
    assert "still unfinished" in str(found["error"])
    assert disk.read_bytes() == half
    assert main(["undo", "disk.qcow2", "--yes"]) == 0


FAILING = """
import errno, sys
from qcow2_dump.cli.main import main
from qcow2_dump.errors import SourceError
from qcow2_dump.storage.writable import WritableFile
write_at, writes = WritableFile.write_at, []
def failing(self, offset, data):
    writes.append(offset)
    if len(writes) == 2:
        raise SourceError(errno.ENOSPC, f"cannot write at offset {offset:#x}: full", self.name)
    write_at(self, offset, data)
WritableFile.write_at = failing
sys.exit(main(["repair", "disk.qcow2", "--all", "--yes", *sys.argv[1:]]))
"""


@pytest.mark.parametrize("words", [(), ("--json",)])
def test_a_write_that_fails_says_that_the_image_is_as_it_was(
    words: tuple[str, ...], disk: Path
) -> None:
    damaged = disk.read_bytes()
    done = subprocess.run(
        [sys.executable, "-c", FAILING, *words],
        capture_output=True,
        text=True,
        env=environment(),
        timeout=60,
        check=False,
    )
    assert done.returncode == 228
    assert done.stderr.count("\n") == 1
    said = "full; what was written was taken back, and the image is as it was"
    assert said in done.stderr
    if words:
        found = json.loads(done.stdout)
        jsonschema.validate(found, SCHEMA)
        assert found["error"].endswith(said)
    assert disk.read_bytes() == damaged
    assert [path.name for path in disk.parent.iterdir()] == ["disk.qcow2"]


def test_killed_while_writing(disk: Path) -> None:
    damaged = disk.read_bytes()
    done = subprocess.run(
        [sys.executable, "-c", STOPPED.format(name="SIGKILL")],
        env=environment(),
        timeout=60,
        check=False,
    )
    assert done.returncode == -signal.SIGKILL
    assert disk.read_bytes() != damaged
    assert "interrupted" in run("check", "disk.qcow2").stderr
    assert run("undo", "disk.qcow2", "--yes").returncode == 0
    assert disk.read_bytes() == damaged


def test_one_of_several_undo_files(disk: Path) -> None:
    damaged = disk.read_bytes()
    kept = disk.parent / "kept"
    words = ["repair", "disk.qcow2", "--all", "--yes", "--undo-file", str(kept)]
    assert main(words) == 0
    Path("disk.qcow2.qcow2-undo.1").unlink()  # what points to it
    assert main(["undo", "disk.qcow2", "--yes"]) == 234
    assert main(["undo", "disk.qcow2", "--yes", "--undo-file", str(kept)]) == 0
    assert disk.read_bytes() == damaged


@pytest.fixture
def long_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A damaged image whose name is so long that no undo file or pointer can lie beside it."""
    monkeypatch.chdir(tmp_path)
    image = std_image()
    image.set_refcount(6, 0)
    return image.write_to(Path("x" * 250))


def test_an_undo_file_that_nothing_leads_to_is_named_before_and_after(
    long_named: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    damaged = long_named.read_bytes()
    words = [str(long_named), "--yes", "--undo-file", "kept"]
    line = f"qcow2-dump undo {long_named} --undo-file {tmp_path / 'kept'}"
    assert main(["repair", *words, "--all"]) == 0
    said = capsys.readouterr()
    assert "no later command will notice" in said.err
    assert f"`{line}`" in said.err
    assert f"  to take it back: {line}\n" in said.out
    assert main([*line.split()[1:], "--yes"]) == 0
    assert long_named.read_bytes() == damaged
    assert f"to take it back: {line}.undo\n" in capsys.readouterr().out
    Path("kept").unlink()
    assert main(["repair", *words, "--all", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    jsonschema.validate(found, SCHEMA)
    assert (found["undo_file"], found["undo_command"]) == (str(tmp_path / "kept"), line)


def test_an_undo_file_that_is_led_to_needs_no_naming(
    disk: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["repair", "disk.qcow2", "--all", "--yes", "--undo-file", "kept"]) == 0
    said = capsys.readouterr()
    assert said.err == ""
    assert "  to take it back: qcow2-dump undo disk.qcow2\n" in said.out


def test_an_undo_file_can_be_used_without_writing_one(disk: Path) -> None:
    damaged = disk.read_bytes()
    mend()
    undo = "disk.qcow2.qcow2-undo.1"
    assert main(["undo", "disk.qcow2", "--yes", "--undo-file", undo, "--no-undo"]) == 0
    assert disk.read_bytes() == damaged
    assert sorted(path.name for path in disk.parent.iterdir()) == ["disk.qcow2", undo]


def test_the_way_back_by_more_than_one_change_is_named(
    disk: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    damaged = disk.read_bytes()
    mend()
    assert main(["snapshot", "delete", "disk.qcow2", "1", "--yes"]) == 0
    capsys.readouterr()
    assert main(["undo", "disk.qcow2", "--yes"]) == 0
    further = f"qcow2-dump undo disk.qcow2 --undo-file {tmp_path}/disk.qcow2.qcow2-undo.1"
    assert f"  to go back by one more change: {further}\n" in capsys.readouterr().out
    assert main([*further.split()[1:], "--yes"]) == 0
    assert disk.read_bytes() == damaged
    assert "one more change" not in capsys.readouterr().out
    names = {"disk.qcow2", *(f"disk.qcow2.qcow2-undo.{number}" for number in range(1, 5))}
    assert {path.name for path in tmp_path.iterdir()} == names


def test_taking_back_an_undo_is_not_called_going_further_back(
    disk: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mend()
    assert main(["undo", "disk.qcow2", "--yes"]) == 0
    assert main(["undo", "disk.qcow2", "--yes"]) == 0
    assert "one more change" not in capsys.readouterr().out


@contextmanager
def without_new_files(folder: Path) -> Iterator[int]:
    """Have a folder take no more files, even from root; gives the error that the system makes."""
    if os.geteuid() != 0:
        folder.chmod(0o555)
        try:
            yield errno.EACCES
        finally:
            folder.chmod(0o755)
        return
    chattr = require_tool("chattr", "a folder that takes no files from root")
    made = subprocess.run([chattr, "+i", folder], capture_output=True, text=True, check=False)
    if made.returncode != 0:
        pytest.skip(f"A FOLDER THAT TAKES NO FILES WAS NOT TESTED: {made.stderr.strip()}")
    try:
        yield errno.EPERM
    finally:
        subprocess.run([chattr, "-i", folder], check=True)


def test_a_folder_that_takes_no_files(disk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = disk.read_bytes()
    with without_new_files(disk.parent) as error:
        assert main(["repair", "disk.qcow2", "--all", "--yes"]) == 256 - error
        assert "--undo-file" in capsys.readouterr().err
        assert disk.read_bytes() == before
