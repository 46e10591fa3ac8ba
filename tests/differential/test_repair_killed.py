"""Real processes that die: SIGKILL at any moment of a change, then taken back or finished.

And the undo file of a change that stopped, against every state that a crash can leave.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

from qcow2_dump.cli.main import main
from qcow2_dump.storage.writable import WritableFile
from tests.cli.running import COMMAND, environment
from tests.corpus import qemu
from tests.corpus.base import KIB, MIB, sparse_copy
from tests.corpus.cases import Case, fixed_cases, materialize
from tests.corpus.damages import DAMAGES
from tests.corpus.imagefile import ImageFile
from tests.corpus.layout import COPIED, Layout
from tests.differential.repair_case import REPAIR
from tests.differential.repair_crash import crashed
from tests.differential.repair_ours import run, undo_files
from tests.differential.repair_plans import plan_of, repair
from tests.differential.repair_tables import Tables

FULL = os.environ.get("QCOW2_DUMP_FULL") == "1"
KILLS = 60 if FULL else 6
LONGEST = 0.025
STOPPED = [
    case
    for case in fixed_cases()[: len(DAMAGES)]
    if case.damage.name
    in ("l2-duplicate", "block-zeroed", "table-overwritten", "refcount-random", "l2-reserved")
]


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Hundreds of tables and blocks, each with something to be mended."""
    path = tmp_path_factory.mktemp("large") / "large.qcow2"
    qemu.create(path, 32 * MIB, cluster_size=512, preallocation="metadata")
    with ImageFile(path) as image:
        tables = Tables(image)
        for offset in tables.l2_tables(tables.trees[0])[1].tolist():
            image.put(offset + 256, image.get(offset + 256) ^ COPIED)
        for _, offset in tables.blocks()[::2]:
            image.write(offset, b"\0\2" * 8)
    return path


def _repaired(image: Path, folder: Path) -> bytes:
    """What an uninterrupted run leaves."""
    path = folder / "whole.qcow2"
    sparse_copy(image, path)
    assert run(*REPAIR, path).status < 128
    return path.read_bytes()


def _stop_while_writing(path: Path, seconds: float, number: int) -> int:
    """Start a repair and send it a signal so long after the first change of image or folder.

    Returns how it ended.
    """
    process = subprocess.Popen(
        [*COMMAND, *REPAIR, str(path)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=environment(),
    )
    try:
        changed = path.stat().st_mtime_ns
        # A fifth dies while the undo file is made, the others while the image is written.
        early = seconds < 0.2 * LONGEST
        while process.poll() is None and path.stat().st_mtime_ns == changed:
            if early and undo_files(path):
                break
            time.sleep(0.0002)
        time.sleep(seconds)
        process.send_signal(number)
        return process.wait(timeout=60)
    finally:
        process.kill()
        process.wait()


def test_killed_at_random_moments(large: Path, tmp_path: Path) -> None:
    """Afterwards the image is what it was or can be made so, and can be finished as well."""
    original, goal = large.read_bytes(), _repaired(large, tmp_path)
    rng = random.Random("killed")
    stopped = 0
    for number in range(KILLS):
        path = tmp_path / f"{number}.qcow2"
        sparse_copy(large, path)
        _stop_while_writing(path, rng.uniform(0, LONGEST), signal.SIGKILL)
        found = path.read_bytes()
        stopped += found not in (original, goal)
        if found != goal or undo_files(path):
            _go_on(path, original, goal, finish=number % 2 == 1)
        for file in (path, *undo_files(path)):
            file.unlink()
    assert stopped, "no kill hit a repair half way"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda s: s.name)
def test_asked_to_stop(number: signal.Signals, large: Path, tmp_path: Path) -> None:
    """What was done is taken back first, and nothing is left beside the image."""
    original, goal = large.read_bytes(), _repaired(large, tmp_path)
    rng = random.Random(f"asked {number}")
    ends = []
    for attempt in range(KILLS // 2):
        path = tmp_path / f"{attempt}.qcow2"
        sparse_copy(large, path)
        ends.append(_stop_while_writing(path, rng.uniform(0, LONGEST), number))
        if ends[-1] == 128 + number:
            assert path.read_bytes() == original
            assert undo_files(path) == []
        else:
            # It came after the last write.
            assert path.read_bytes() == goal
        for file in (path, *undo_files(path)):
            file.unlink()
    assert 128 + number in ends, ends


def _go_on(path: Path, original: bytes, goal: bytes, *, finish: bool) -> None:
    """Take back what is there to be taken back, or finish it."""
    interrupted = run("check", path)
    if "interrupted" in interrupted.err:
        assert run(*REPAIR, path).status >= 128
        words = ("undo", "--finish", "--yes") if finish else ("undo", "--yes")
        ran = run(*words, path)
        assert ran.status == 0, ran
        assert path.read_bytes() == (goal if finish else original)
        assert "interrupted" not in run("check", path).err
        return
    # It was killed before its first write, or after its last.
    found = path.read_bytes()
    assert found in (original, goal)
    if found == goal:
        assert run("undo", "--yes", path).status == 0
        assert path.read_bytes() == original


def _stop_at_first_write(path: Path) -> None:
    """Let a process begin a repair and die where it would write the first bytes."""
    child = os.fork()
    if child == 0:
        WritableFile.write_at = lambda *_: os._exit(9)  # type: ignore[method-assign]
        WritableFile.resize = lambda *_: os._exit(9)  # type: ignore[method-assign]
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 1)
        os.dup2(nowhere, 2)
        main([*REPAIR, str(path)])
        os._exit(0)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 9


@pytest.mark.parametrize("case", STOPPED, ids=lambda case: case.name)
def test_every_crash_can_be_taken_back_and_finished(case: Case, tmp_path: Path) -> None:
    """The undo file as it is on the disk, against states as a power loss leaves them."""
    path = materialize(case, tmp_path)
    original, goal = path.read_bytes(), _repaired(path, tmp_path)
    _stop_at_first_write(path)
    (undo,) = undo_files(path)
    kept = undo.read_bytes()
    assert path.read_bytes() == original
    with plan_of(path, repair) as plan:
        states = list(crashed(original, plan, random.Random(case.name), 8))
    assert len(states) >= 2
    rng = random.Random("some")
    for number, state in enumerate(states if FULL else rng.sample(states, min(10, len(states)))):
        path.write_bytes(state)
        undo.write_bytes(kept)
        finish = number % 2 == 0
        ran = run("undo", "--yes", *(["--finish"] if finish else []), path)
        assert ran.status == 0, ran
        assert path.read_bytes() == (goal if finish else original)
    shutil.rmtree(path.parent)


def test_an_interrupted_change_comes_first(tmp_path: Path) -> None:
    """Every command says so; those that write refuse until it is dealt with."""
    path = tmp_path / "disk.qcow2"
    qemu.create(path, MIB, cluster_size=4 * KIB)
    qemu.io(path, ["write -P 1 0 64k"])
    with ImageFile(path) as image:
        entry = Layout(path).active.l1[0].target
        image.put(entry, image.get(entry) ^ COPIED)
    original = path.read_bytes()
    _stop_at_first_write(path)
    for line in ("check", "info", "dump", "-m info", "-m check", "map"):
        assert "interrupted" in run(*line.split(), path).err, line
    for line in ("repair --all --yes", "flag mark", "-R all"):
        words = line.split() if line != "flag mark" else ["flag", "mark", path, "dirty", "--yes"]
        ran = run(*words, *([path] if path not in words else []))
        assert ran.status >= 128, line
        assert "interrupted" in ran.err, line
    assert path.read_bytes() == original
    assert run("undo", "--yes", "--finish", path).status == 0
    assert run(*REPAIR, path).status == 0
    assert run("undo", "--yes", path).status == 0
    assert path.read_bytes() == original
