"""`check` as a process of its own, over sound, damaged and missing images."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from qcow2_dump.ondisk.constants import ExtensionType
from qcow2_dump.ondisk.extension_records import FeatureName
from tests.builder.spec import SnapshotSpec
from tests.builder.std import std_image
from tests.cli.running import COMMAND, environment, run


@pytest.fixture
def sound(tmp_path: Path) -> Path:
    return std_image().write_to(tmp_path / "sound.qcow2")


@pytest.fixture
def damaged(tmp_path: Path) -> Path:
    image = std_image(snapshots=(SnapshotSpec("1", "monday"),))
    image.set_l2(0, 1, 0x8000000090000000)
    return image.write_to(tmp_path / "damaged.qcow2")


def test_a_sound_image(sound: Path) -> None:
    done = run("check", sound)
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert len(lines) == 3
    assert lines[0] == f"{sound}: GOOD - nothing is wrong"


def test_a_damaged_image(damaged: Path) -> None:
    done = run("check", damaged)
    assert done.returncode == 6
    assert "1 L2 entry points past the end of the file" in done.stdout
    assert 'snapshot 1 "monday"' in done.stdout
    last = done.stdout.splitlines()[-1]
    assert last.strip().removeprefix("next: ").startswith("qcow2-dump ")


@pytest.mark.parametrize("words", [("check",), ("map",), ("dump",), ("locate", "--guest", "0")])
def test_an_unknown_feature_is_refused_by_its_name(words: tuple[str, ...], tmp_path: Path) -> None:
    table = FeatureName(0, 9, b"new\x1bidea").pack()
    image = std_image(extensions=((ExtensionType.FEATURE_NAMES, table),))
    image.poke(72, 1 << 9, 8)
    done = run(words[0], image.write_to(tmp_path / "new.qcow2"), *words[1:])
    assert done.returncode == 161
    assert 'unknown incompatible feature: bit 9 ("new\\x1bidea")' in done.stderr


def test_several_images_and_one_that_is_not_there(
    sound: Path, damaged: Path, tmp_path: Path
) -> None:
    missing = tmp_path / "missing.qcow2"
    done = run("check", sound, missing, damaged)
    assert done.returncode == 254
    assert done.stderr == f"qcow2-dump check: {missing}: No such file or directory\n"
    assert f"{sound}: GOOD" in done.stdout
    assert f"\n\n{damaged}: CORRUPT" in done.stdout


def test_the_worst_verdict_of_several_images(sound: Path, damaged: Path) -> None:
    assert run("check", damaged, sound).returncode == 6


def test_json_has_a_line_for_each_image(sound: Path, damaged: Path, tmp_path: Path) -> None:
    done = run("check", "--json", sound, tmp_path / "missing", damaged)
    documents = [json.loads(line) for line in done.stdout.splitlines()]
    assert [document["exit_status"] for document in documents] == [0, 254, 6]
    assert [document["status"] for document in documents] == ["good", "error", "corrupt"]


@pytest.mark.parametrize(
    ("content", "status"), [(b"", 234), (b"not an image" * 100, 234), (b"QFI\xfb\0\0\0\x09", 161)]
)
def test_what_is_no_image(tmp_path: Path, content: bytes, status: int) -> None:
    path = tmp_path / "a\x1b[2Jb"
    path.write_bytes(content)
    done = run("check", path)
    assert (done.returncode, done.stdout) == (status, "")
    assert done.stderr.count("\n") == 1
    assert r"a\x1b[2Jb" in done.stderr


def test_a_folder_is_no_image(tmp_path: Path) -> None:
    assert run("check", tmp_path).returncode == 256 - 21


def test_exit_like_qemu_img(sound: Path, damaged: Path, tmp_path: Path) -> None:
    like = ("check", "--exit-like", "qemu-img")
    assert run(*like, sound).returncode == 0
    assert run(*like, damaged).returncode == 2
    assert run(*like, tmp_path / "missing").returncode == 1


def test_a_missing_backing_file_unless_told_not_to_look(tmp_path: Path) -> None:
    path = std_image(backing_name="gone.qcow2").write_to(tmp_path / "disk.qcow2")
    done = run("check", path)
    assert done.returncode == 8
    assert "gone.qcow2" in done.stdout
    assert run("check", "--base", path).returncode == 0


def test_a_closed_pipe_is_quiet(damaged: Path) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    try:
        done = run("check", damaged, stdout=writer)
    finally:
        os.close(writer)
    assert (done.returncode, done.stderr) == (141, "")


@pytest.mark.parametrize("words", [("check", "--json"), ("check",)])
def test_a_full_disk_under_the_output(damaged: Path, words: tuple[str, ...]) -> None:
    with Path("/dev/full").open("w") as full:
        done = run(*words, damaged, stdout=full)
    assert done.returncode == 228
    assert done.stderr == "qcow2-dump check: cannot write: No space left on device\n"


@pytest.mark.parametrize("words", [("--help",), ("--version",), ("explain", "--list")])
def test_other_commands_notice_a_full_disk_too(words: tuple[str, ...]) -> None:
    with Path("/dev/full").open("w") as full:
        assert run(*words, stdout=full).returncode == 228


def test_a_closed_standard_output(sound: Path) -> None:
    line = 'exec "$@" >&-'
    done = subprocess.run(
        ["bash", "-c", line, "bash", *COMMAND, "check", str(sound)],
        stderr=subprocess.PIPE,
        text=True,
        env=environment(),
        check=False,
    )
    assert done.returncode == 256 - 9
    assert done.stderr == "qcow2-dump check: cannot write: standard output is closed\n"


def test_a_terminal_without_unicode(tmp_path: Path) -> None:
    spec = (SnapshotSpec("1", "montag €"), SnapshotSpec("2", "montag €"))
    path = std_image(snapshots=spec).write_to(tmp_path / "grün.qcow2")
    done = run("check", path, LC_ALL="C", PYTHONIOENCODING="ascii", PYTHONUTF8="0")
    assert done.returncode == 8
    assert r"montag \u20ac" in done.stdout


_INTERRUPTED = """
import os, signal, sys
from qcow2_dump.cli.main import main
from qcow2_dump.checks.checker import Checker

whole = Checker.run

def run(self):
    for number, step in enumerate(whole(self)):
        if number == 1:
            os.kill(os.getpid(), int(sys.argv[1]))
        yield step

Checker.run = run
sys.exit(main(sys.argv[2:]))
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("json_option", [[], ["--json"]])
def test_a_signal_ends_the_run_with_what_was_seen(
    damaged: Path, number: signal.Signals, json_option: list[str]
) -> None:
    done = subprocess.run(
        [
            *(sys.executable, "-c", _INTERRUPTED, str(number.value)),
            *("check", *json_option, str(damaged), str(damaged)),
        ],
        capture_output=True,
        text=True,
        env=environment(),
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (128 + number, "")
    if json_option:
        document = json.loads(done.stdout)
        assert (document["status"], document["exit_status"]) == ("incomplete", 128 + number)
    else:
        assert done.stdout.startswith(f"{damaged}: INCOMPLETE")


def test_an_error_of_our_own_is_one_line(sound: Path) -> None:
    program = (
        "import sys\n"
        "from qcow2_dump.checks.checker import Checker\n"
        "from qcow2_dump.cli.main import main\n"
        "Checker.run = lambda self: 1 // 0\n"
        "sys.exit(main(sys.argv[1:]))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, "check", str(sound)],
        capture_output=True,
        text=True,
        env=environment(),
        check=False,
    )
    assert done.returncode == 251
    assert done.stderr.count("\n") == 1
    assert "internal error: ZeroDivisionError" in done.stderr
