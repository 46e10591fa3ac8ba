"""A real process, a real file, SIGKILL: the next run takes back or finishes what it left."""

import signal
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from qcow2_dump.plan.journal import latest_change, open_journal
from qcow2_dump.plan.recovery import examine
from qcow2_dump.plan.undo_files import find_undo_files
from qcow2_dump.plan.undo_format import UndoState
from qcow2_dump.storage.writable import WritableFile
from tests.plan.disk import digest, result_of
from tests.plan.killed_writer import CONTENT, a_plan

ROOT = Path(__file__).parents[2]


def kill(image: Path, after: int, elsewhere: str) -> None:
    command = [sys.executable, "-m", "tests.plan.killed_writer", image, str(after), elsewhere]
    environment = {"PYTHONPATH": f"{ROOT}/src:{ROOT}"}
    ended = subprocess.run(command, cwd=ROOT, env=environment, check=False, capture_output=True)
    assert ended.returncode == -signal.SIGKILL, ended.stderr


@pytest.mark.parametrize(("after", "elsewhere"), [(1, False), (9, True), (18, False), (20, False)])
def test_what_a_killed_process_left_is_recovered(
    tmp_path: Path, after: int, elsewhere: bool
) -> None:
    image = tmp_path / "disk.qcow2"
    for way, wanted in (("back", CONTENT), ("on", result_of(a_plan(), CONTENT))):
        kill(image, after, str(tmp_path / "mine.undo") if elsewhere else "")
        assert image.read_bytes() not in (CONTENT, wanted) or after == 20
        (known,) = find_undo_files(image)
        assert known.is_interrupted
        with (
            WritableFile(image) as target,
            closing(open_journal(known)) as journal,
            closing(examine(journal, target, digest)) as recovery,
        ):
            if way == "back":
                recovery.take_back(target)
            else:
                recovery.finish(target, digest)
                assert latest_change(image, target, digest) is not None
        assert image.read_bytes() == wanted
        left = [entry.state for entry in find_undo_files(image)]
        assert left == ([] if way == "back" else [UndoState.FINISHED])
