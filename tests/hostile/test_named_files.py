"""Files that the image names: nothing is opened but the image itself, whatever it says."""

import json
import os
import sys
from pathlib import Path

import pytest

from tests.hostile.raw_image import DATA_FILE_EXTENSION, HEADER_PLACES, refcounted_image
from tests.hostile.running import run

CLUSTER = 1 << 16

# What the interpreter opens for itself is loaded first, by the check of a harmless image.
_WATCHED = """
import json, sys
from qcow2_dump.cli.main import main

seen, watching = [], False

def hook(event, arguments):
    reaches_out = event.startswith(("socket.", "subprocess.", "os.exec", "os.posix_spawn",
                                    "os.system", "os.fork", "urllib.", "ctypes.dlopen"))
    if watching and (event == "open" or reaches_out):
        seen.append([event, str(arguments[0])])

sys.addaudithook(hook)
_, harmless, report, *words = sys.argv
for image in (harmless, words[-1]):
    watching = image != harmless
    try:
        main([*words[:-1], image])
    except SystemExit:
        pass
watching = False
with open(report, "w") as file:
    json.dump(seen, file)
"""


def write_image(path: Path, name: bytes, kind: str) -> None:
    """An image that names a backing file or a data file."""
    with refcounted_image(path, 8 * CLUSTER) as image:
        if kind == "data file":
            image.extensions((DATA_FILE_EXTENSION, name))
            fields = {"incompatible_features": 4}
        else:
            fields = {"backing_file_offset": 8192, "backing_file_size": len(name)}
            image.write(8192, name)
        for field, value in fields.items():
            offset, width = HEADER_PLACES[field]
            image.write(offset, value.to_bytes(width, "big"))


@pytest.mark.parametrize("kind", ["backing file", "data file"])
@pytest.mark.parametrize(
    "name",
    [
        "nbd://127.0.0.1:10809/export",
        'json:{"driver":"https","url":"https://127.0.0.1/disk"}',
        "https://127.0.0.1/disk.qcow2",
        "ssh://root@127.0.0.1/disk",
        "/dev/tcp/127.0.0.1/80",
        "/etc/passwd",
        "file:///etc/passwd",
        "file:FIFO",
        "FIFO",
        "/dev/stdin",
        "/proc/self/mem",
        "|reboot",
    ],
)
@pytest.mark.parametrize("words", [("check",), ("check", "--deep", "--json"), ("info",)])
def test_nothing_is_opened_but_the_image(
    tmp_path: Path, kind: str, name: str, words: tuple[str, ...]
) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    path, harmless = tmp_path / "disk.qcow2", tmp_path / "harmless.qcow2"
    write_image(path, name.replace("FIFO", str(fifo)).encode(), kind)
    write_image(harmless, b"base.qcow2", kind)
    report = tmp_path / "report.json"
    program = [sys.executable, "-c", _WATCHED, str(harmless), str(report)]
    run([*program, *words, str(path)], cwd=tmp_path)
    seen = json.loads(report.read_text())
    assert {event for event, _ in seen} == {"open"}
    # `info` asks the system, not the image, which file system the image lies on.
    assert {what for _, what in seen} - {"/proc/self/mountinfo"} == {str(path)}


@pytest.mark.parametrize("kind", ["backing file", "data file"])
def test_a_name_that_leads_through_a_fifo_or_a_loop_does_not_hang(
    tmp_path: Path, kind: str
) -> None:
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "loop").symlink_to("loop")
    for name in (b"fifo/disk", b"loop/disk", b"loop", b"x" * 1000, b"../" * 300, b"a\0b"):
        path = tmp_path / "disk.qcow2"
        write_image(path, name, kind)
        found = run([sys.executable, "-m", "qcow2_dump", "check", str(path)], cwd=tmp_path)
        assert found.status <= 8, (name, found.stderr)
