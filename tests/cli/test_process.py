"""The life of the whole process: what it spares, and that it ends like the command."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.builder.std import std_image
from tests.cli.running import environment, run

CHECK_IN_PROCESS = """\
import gc, os
from pathlib import Path
from qcow2_dump.cli.process import run
status = run()
tasks = Path("/proc/self/task")
threads = sum(1 for _ in tasks.iterdir()) if tasks.exists() else 1
print(status, threads, gc.get_freeze_count() > 0, os.environ["OPENBLAS_NUM_THREADS"])
"""


def check(path: Path, **variables: str) -> list[str]:
    """What a process prints last that checks an image and then looks at itself."""
    done = subprocess.run(
        [sys.executable, "-c", CHECK_IN_PROCESS, "check", str(path)],
        env=environment(**variables),
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return done.stdout.splitlines()[-1].split()


@pytest.fixture
def image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("OPENBLAS_NUM_THREADS", raising=False)
    return std_image().write_to(tmp_path / "disk.qcow2")


def test_a_check_starts_no_threads_and_leaves_no_work_to_the_exit(image: Path) -> None:
    assert check(image) == ["0", "1", "True", "1"]


def test_who_wants_threads_is_heard(image: Path) -> None:
    assert check(image, OPENBLAS_NUM_THREADS="2")[-1] == "2"


def test_the_module_runs_the_process(image: Path) -> None:
    assert run("check", image).returncode == 0
    assert run("check").returncode == 256 - 22
