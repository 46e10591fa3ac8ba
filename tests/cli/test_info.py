"""`info` as processes see it: statuses, streams, what is opened, what is loaded."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.builder.spec import SnapshotSpec
from tests.builder.std import std_image
from tests.cli.running import environment
from tests.report.test_classic_header import FIELDS

CALL = {
    "text": "show_info(request, json=False, color='auto')",
    "json": "show_info(request, json=True, color='auto')",
    "color": "show_info(request, json=False, color='always')",
    "classic": "show_classic_info(request)",
}
SCRIPT = """\
import sys
{before}
from qcow2_dump.cli.info_command import show_classic_info, show_header_fields, show_info
from qcow2_dump.operations.requests import InfoRequest
request = InfoRequest(images=tuple(sys.argv[1:]), chain={chain})
status = {call}
{after}
sys.exit(status)
"""
AUDIT = """\
def watch(event, arguments):
    if event == "open" and isinstance(arguments[0], (str, bytes)):
        name = arguments[0]
        if "__pycache__" not in str(name) and not str(name).endswith((".py", ".pyc")):
            opened.append(str(name))
opened = []
sys.addaudithook(watch)
"""


def run(
    call: str, *images: Path, chain: bool = False, before: str = "", after: str = ""
) -> subprocess.CompletedProcess[str]:
    script = SCRIPT.format(call=call, chain=chain, before=before, after=after)
    done = subprocess.run(
        [sys.executable, "-c", script, *map(str, images)],
        capture_output=True,
        text=True,
        env=environment(),
        timeout=60,
        check=False,
    )
    assert "Traceback" not in done.stderr, done.stderr
    return done


@pytest.fixture
def image(tmp_path: Path) -> Path:
    """An overlay with a snapshot over a base that is there."""
    std_image().write_to(tmp_path / "base.qcow2")
    built = std_image(
        backing_name="base.qcow2", backing_format="qcow2", snapshots=(SnapshotSpec("1", "monday"),)
    )
    return built.write_to(tmp_path / "disk.qcow2")


@pytest.mark.parametrize("face", ["text", "json", "classic"])
def test_one_image(face: str, image: Path) -> None:
    done = run(CALL[face], image)
    assert (done.returncode, done.stderr) == (0, "")
    assert "monday" in done.stdout
    assert "\x1b" not in done.stdout


def test_colour_only_when_asked_for(image: Path) -> None:
    assert "\x1b[1m" in run(CALL["color"], image).stdout


@pytest.mark.parametrize("chain", [False, True])
@pytest.mark.parametrize("face", ["text", "json", "classic"])
def test_nothing_but_the_image_is_opened_without_the_chain(
    face: str, chain: bool, image: Path
) -> None:
    after = "print('opened', *opened, file=sys.stderr)"
    done = run(CALL[face], image, chain=chain, before=AUDIT, after=after)
    opened = {name for name in done.stderr.split()[1:] if not name.startswith("/proc/self/")}
    asked = {str(image)} | ({str(image.with_name("base.qcow2"))} if chain else set())
    assert opened == asked


@pytest.mark.parametrize("face", ["text", "json", "classic"])
def test_no_numpy(face: str, image: Path) -> None:
    heavy = "{'numpy', 'tqdm', 'zstandard', 'argparse', 'pathlib'} & set(sys.modules)"
    done = run(CALL[face], image, chain=True, after=f"print(*{heavy}, file=sys.stderr)")
    assert done.stderr.split() == []


def test_several_images_in_text(image: Path) -> None:
    done = run(CALL["text"], image, image.with_name("base.qcow2"))
    assert f"\n\n{image.with_name('base.qcow2')}: qcow2 version 3" in done.stdout
    assert done.stdout.startswith(f"{image}: ")
    assert not done.stdout.endswith("\n\n")


def test_several_images_in_json(image: Path) -> None:
    gone = image.with_name("gone")
    done = run(CALL["json"], image, gone, image.with_name("base.qcow2"))
    first, second, third = map(json.loads, done.stdout.splitlines())
    assert [document["image"] for document in (first, second, third)] == [
        str(image),
        str(gone),
        str(image.with_name("base.qcow2")),
    ]
    assert (second["status"], second["exit_status"]) == ("error", 254)
    assert done.returncode == 254
    assert done.stderr == f"qcow2-dump info: {gone}: No such file or directory\n"


@pytest.mark.parametrize(
    ("face", "speaker"), [("text", "qcow2-dump info"), ("classic", "qcow2-dump")]
)
def test_a_header_that_makes_no_sense_is_shown_as_it_is(
    face: str, speaker: str, tmp_path: Path
) -> None:
    built = std_image()
    built.poke(20, 40, 4)
    path = built.write_to(tmp_path / "disk")
    done = run(CALL[face], path)
    assert done.returncode == 234
    assert done.stderr == f"{speaker}: {path}: cluster_bits is 40, must be 9 to 21\n"
    assert "cluster_bits" in done.stdout
    assert "0x28" in done.stdout


def test_damage_does_not_change_the_status(image: Path) -> None:
    with image.open("r+b") as file:
        file.seek(64)
        file.write((0x200).to_bytes(8, "big"))
    for call in CALL.values():
        assert run(call, image).returncode == 0
    assert "records are not there" in run(CALL["text"], image).stdout
    classic = run(CALL["classic"], image)
    assert "records are not there" in classic.stderr
    assert "snapshots_offset: 0x200\n" in classic.stdout


def test_header_fields_need_no_image() -> None:
    script = "import sys; from qcow2_dump.cli.info_command import show_header_fields as show"
    done = subprocess.run(
        [sys.executable, "-c", f"{script}; sys.exit(show())"],
        capture_output=True,
        text=True,
        env=environment(),
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, FIELDS, "")


def test_a_full_disk_is_an_error(image: Path) -> None:
    script = SCRIPT.format(call=CALL["text"], chain=False, before="", after="")
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-c", script, str(image)],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, **environment()},
            timeout=60,
            check=False,
        )
    # The entry point turns it into a line; here it must not pass unnoticed.
    assert done.returncode == 1
    assert "No space left on device" in done.stderr
