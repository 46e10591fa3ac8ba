"""`--lock` and `-l`, and the warning of those who read without it."""

import json
import os
from pathlib import Path
from unittest import mock

import pytest

from qcow2_dump.cli.failure import warning_of_writers
from qcow2_dump.image.image import Image, open_image
from qcow2_dump.storage.memory import MemorySource
from tests.builder.std import std_image
from tests.cli.running import run
from tests.support.holder import qemu_holding
from tests.support.qemu import require_qemu, run_tool

LOCKED = [
    "check --lock",
    "info --lock",
    "dump --lock",
    "-l",
    "-l -m info",
    "-l -m error",
    "-lm dump",
]
WARNED = [
    *("check", "check --json", "dump", "-m check", "-m error", "-m dump"),
    *("map", "map --json", "locate --guest 0", "locate --host 0x50000 --json"),
]
WARNING = "somebody has it open for writing: what is reported may be changing meanwhile\n"


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    require_qemu()
    return std_image().write_to(tmp_path / "disk.qcow2")


def test_a_writer_ends_the_run(disk: Path) -> None:
    with qemu_holding(disk) as process:
        for line in LOCKED:
            done = run(*line.split(), disk)
            assert done.returncode == 240, line
            assert done.stdout == ""
            holder = f"qemu-io (process {process}: qemu-io -f qcow2 {disk})"
            said = f"{disk}: {holder} has it open for writing\n"
            assert done.stderr.endswith(said), line
        refused = run("check", "--lock", "--json", disk)
        assert json.loads(refused.stdout)["errno"] == "EBUSY"
        assert run("check", "--lock", "--exit-like", "qemu-img", disk).returncode == 1


def test_a_reader_does_not(disk: Path) -> None:
    with qemu_holding(disk, "-r"):
        for line in LOCKED:
            done = run(*line.split(), disk)
            assert (done.returncode, done.stderr) == (0, ""), line


def test_who_does_not_lock_is_warned_of_a_writer(disk: Path) -> None:
    quiet = [run(*line.split(), disk) for line in WARNED]
    with qemu_holding(disk):
        for line, before in zip(WARNED, quiet, strict=True):
            done = run(*line.split(), disk)
            assert done.stderr.count("\n") == 1
            assert done.stderr.endswith(f"{disk}: {WARNING}"), line
            assert (done.returncode, before.returncode) == (0, 0), line
        assert run("info", disk).stderr == ""
    assert {before.stderr for before in quiet} == {""}


CHECKS = ["check", "check --errors", "check --json", "-m check", "-m error", "-m dump", "dump"]


def test_damage_under_an_idle_writer_is_damage(disk: Path) -> None:
    poke(disk, 0x40000 + 8 * 9, 0x7F000000)
    before = {line: run(*line.split(), disk) for line in CHECKS}
    with qemu_holding(disk):
        for line in CHECKS:
            done = run(*line.split(), disk)
            assert (done.returncode, before[line].returncode) == (6, 6), line
            assert "unsettled)" not in done.stdout, line
        document = json.loads(run("check", "--json", disk).stdout)
    assert [(f["code"], f["settled"]) for f in document["findings"]] == [("l2.beyond-end", True)]
    assert document["kinds"]["l2.beyond-end"]["unsettled"] == 0


def test_leaks_under_a_writer_are_nothing_certain(disk: Path) -> None:
    poke(disk, 0x20000 + 2 * 8, 1, width=2)
    with disk.open("ab") as file:
        file.truncate(0x90000)
    assert run("check", disk).returncode == 1
    with qemu_holding(disk):
        for line in CHECKS:
            assert run(*line.split(), disk).returncode == 8, line
        text = run("check", disk).stdout
        classic = run("-m", "check", disk).stdout
        document = json.loads(run("check", "--json", disk).stdout)
        assert run("check", "--exit-like", "qemu-img", disk).returncode == 3
    verdict = "OTHER - nothing is certain: somebody is writing to the image"
    assert text.startswith(f"{disk}: {verdict}\n")
    assert "references (unsettled)\n" in text
    assert text.endswith(f"next: qcow2-dump check {disk} --lock\n")
    assert f"{disk}: {verdict}\n" in classic
    assert "[refcount.leak] (unsettled)\n" in classic
    assert "can be freed" not in text + classic
    assert (document["status"], document["exit_status"]) == ("other", 8)
    assert [(f["code"], f["settled"], f["repair"]) for f in document["findings"]] == [
        ("refcount.leak", False, None)
    ]
    assert document["totals"]["leaks"] == 1


def poke(disk: Path, offset: int, value: int, width: int = 8) -> None:
    with disk.open("r+b") as file:
        file.seek(offset)
        file.write(value.to_bytes(width, "big"))


def test_a_chain_is_locked_file_by_file(disk: Path, tmp_path: Path) -> None:
    overlay = tmp_path / "overlay.qcow2"
    made = run_tool("qemu-img", "create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", disk, overlay)
    assert made.returncode == 0, made.stderr
    with qemu_holding(disk):
        assert "has it open for writing" not in run("info", "--chain", overlay).stdout
        assert "has it open for writing" in run("info", "--chain", "--lock", overlay).stdout
    # A running guest holds its backing files as a reader does.
    with qemu_holding(overlay, "-r"):
        assert "has it open" not in run("info", "--chain", "--lock", overlay).stdout


@pytest.mark.parametrize(
    ("before", "after", "warnings"),
    [(False, False, 0), (True, True, 1), (True, False, 1), (False, True, 1)],
)
def test_a_writer_who_comes_or_goes_meanwhile_is_told_once(
    before: bool, after: bool, warnings: int, capsys: pytest.CaptureFixture[str]
) -> None:
    source = MemorySource(std_image().data.to_bytes(), "disk.qcow2")
    with (
        Image(source) as image,
        mock.patch.object(source, "is_being_written", side_effect=[before, after]),
        warning_of_writers("map", image),
    ):
        pass
    assert capsys.readouterr().err == f"qcow2-dump map: disk.qcow2: {WARNING}" * warnings


def test_a_writer_who_has_gone_is_known_by_the_change(
    disk: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    os.utime(disk, ns=(1, 1))
    with open_image(disk) as image, warning_of_writers("map", image):
        run_tool("qemu-io", "-f", "qcow2", "-c", "write 1M 64k", disk)
    said = "somebody wrote to it meanwhile: what is reported may be out of date"
    assert capsys.readouterr().err == f"qcow2-dump map: {disk}: {said}\n"
