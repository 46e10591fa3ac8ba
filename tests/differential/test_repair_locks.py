"""Every command that writes refuses an image that somebody has open, in whatever way."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.cli.running import COMMAND, environment
from tests.corpus import qemu
from tests.corpus.base import MIB
from tests.corpus.imagefile import ImageFile
from tests.differential.repair_case import REPAIR
from tests.differential.repair_ours import run, undo_files
from tests.support.holder import qemu_holding
from tests.support.qemu import run_tool
from tests.support.tools import require_tool

LINES = [
    "repair IMAGE --all --yes",
    "repair IMAGE --leaks --yes --force-unlocked",
    "undo IMAGE --yes",
    "snapshot apply IMAGE one --yes",
    "snapshot delete IMAGE one --yes",
    "snapshot keep IMAGE one --yes",
    "flag mark IMAGE corrupt --yes",
    "flag clear IMAGE corrupt --yes",
    "edit IMAGE 0x50000 7 --yes",
    "copy IMAGE --from 0x50000 --to 0x60000 --length 512 --yes",
    "rebase IMAGE base.raw --base --yes",
    "-R all IMAGE",
    "-A one IMAGE",
    "-D one IMAGE",
    "-E one IMAGE",
    "-M corrupt IMAGE",
    "-C corrupt IMAGE",
    "-m edit -O 0x50000 -V 7 IMAGE",
    "-m copy -S 0x50000 -O 0x60000 -w 512 IMAGE",
    "-m rebase -b -F base.raw IMAGE",
]


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    """A snapshot, a wrong COPIED flag, and something to undo."""
    path = tmp_path / "disk.qcow2"
    qemu.create(path, 64 * MIB)
    qemu.io(path, ["write -P 17 0 192k"])
    qemu.img("snapshot", "-c", "one", path)
    with ImageFile(path) as image:
        image.put(0x40000, image.get(0x40000) | 1 << 63)
    assert run(*REPAIR, path).status == 0
    with ImageFile(path) as image:
        image.put(0x40000, image.get(0x40000) | 1 << 63)
    return path


@contextmanager
def daemon_holding(path: Path, *, read_only: bool) -> Iterator[None]:
    """Have qemu-storage-daemon open the image."""
    require_tool("qemu-storage-daemon", "its locks")
    pid = path.parent / "daemon.pid"
    node = f"driver=qcow2,node-name=disk,read-only={'on' if read_only else 'off'}"
    node += f",file.driver=file,file.filename={path}"
    words = ["qemu-storage-daemon", "--blockdev", node, "--daemonize", "--pidfile", str(pid)]
    subprocess.run(words, check=True, timeout=30)
    number = int(pid.read_text())
    try:
        yield
    finally:
        os.kill(number, signal.SIGTERM)
        while Path(f"/proc/{number}/stat").exists():
            if Path(f"/proc/{number}/stat").read_text().split()[2] == "Z":
                break
            time.sleep(0.01)


HOLDERS = ["writer", "reader", "force-share", "daemon", "daemon reading"]


@pytest.mark.parametrize("holder", HOLDERS)
def test_every_write_command_refuses(holder: str, disk: Path) -> None:
    """Status 240, one line, nothing written, nothing left beside the image."""
    before, beside = disk.read_bytes(), undo_files(disk)
    with ExitStack() as stack:
        if holder.startswith("daemon"):
            stack.enter_context(daemon_holding(disk, read_only=holder != "daemon"))
        else:
            flags = {"writer": (), "reader": ("-r",), "force-share": ("-r", "-U")}[holder]
            stack.enter_context(qemu_holding(disk, *flags))
        for line in LINES:
            ran = run(*(word if word != "IMAGE" else disk for word in line.split()))
            assert ran.status == 240, (line, ran)
            assert ran.err.count("\n") == 1, (line, ran)
            assert "has it open" in ran.err, (line, ran)
        assert disk.read_bytes() == before
        assert undo_files(disk) == beside


def test_a_dry_run_does_not_refuse(disk: Path) -> None:
    before = disk.read_bytes()
    with qemu_holding(disk):
        ran = run("repair", "--all", "--dry-run", disk)
    assert ran.status < 128, ran
    assert disk.read_bytes() == before


def _qemu_opens(path: Path, *words: str) -> bool:
    return "lock" not in run_tool(*words, "-f", "qcow2", path).stderr


READERS = (("qemu-io", "-r", "-c", "length"), ("qemu-img", "check"))
WRITERS = (("qemu-io", "-c", "length"), ("qemu-img", "check", "-r", "all"))


def test_nobody_comes_in_while_we_ask(disk: Path) -> None:
    """Locked from before the check, through the question; gone with the process."""
    before = disk.read_bytes()
    ours, terminal = pty.openpty()
    process = subprocess.Popen(
        [*COMMAND, "repair", str(disk), "--all"],
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
        env=environment(NO_COLOR="1"),
        start_new_session=True,
    )
    os.close(terminal)
    try:
        said = b""
        while b"?" not in said:
            said += os.read(ours, 4096)
        assert not any(_qemu_opens(disk, *words) for words in (*READERS, *WRITERS))
        assert run(*REPAIR, disk).status == 240
    finally:
        process.kill()
        process.wait()
        os.close(ours)
    assert disk.read_bytes() == before
    assert all(_qemu_opens(disk, *words) for words in READERS)
    assert run(*REPAIR, disk).status == 0
