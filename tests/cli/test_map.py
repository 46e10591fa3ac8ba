"""`map`: what it prints, what it opens, and what it says when something is refused."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from qcow2_dump.cli.map_command import map_image
from qcow2_dump.operations.requests import MapRequest
from tests.builder.build import build
from tests.builder.spec import Compressed, Data, ImageSpec, SnapshotSpec, ZeroAlloc, ZeroPlain
from tests.builder.std import std_image

Printed = pytest.CaptureFixture[str]


def run_map(path: Path, printed: Printed, *, status: int = 0, **options: Any) -> tuple[str, str]:
    """Run the command, check its status, and return what it printed."""
    shown = {name: options.pop(name, False) for name in ("json", "details")}
    request = MapRequest(image=str(path), **options)
    assert map_image(request, color="never", **shown) == status
    return tuple(printed.readouterr())  # type: ignore[return-value]


def over(path: Path, backing: str, kind: str | None = "qcow2") -> Path:
    """An image over a backing file of that name."""
    return build(ImageSpec(backing_name=backing, backing_format=kind)).write_to(path)


def test_the_table_for_people(tmp_path: Path, capsys: Printed) -> None:
    content = {0: Data(1), 1: Compressed(2), 2: ZeroPlain(), 3: ZeroAlloc()}
    built = build(ImageSpec(content=content, virtual_size=1 << 20))
    out, err = run_map(built.write_to(tmp_path / "disk.qcow2"), capsys)
    host = built.active.data
    assert (err, out.splitlines()[0]) == ("", f"{tmp_path}/disk.qcow2: active, 1 MiB")
    rows = [line.split(None, 3) for line in out.splitlines()[2:-1]]
    assert rows == [
        ["0x0-0xffff", "64", "KiB", f"data                {host[0]:#x}"],
        ["0x10000-0x1ffff", "64", "KiB", "compressed"],
        ["0x20000-0x2ffff", "64", "KiB", "zeros"],
        ["0x30000-0x3ffff", "64", "KiB", f"zeros, allocated    {host[3]:#x}"],
        ["0x40000-0xfffff", "768", "KiB", "unallocated"],
    ]
    assert out.splitlines()[-1].startswith("  1,048,576 bytes: 768 KiB unallocated; 64 KiB ")


def test_damage_is_shown_and_details_say_what(tmp_path: Path, capsys: Printed) -> None:
    built = std_image()
    built.set_l2(0, 1, 1 << 40)
    path = built.write_to(tmp_path / "disk.qcow2")
    out, _ = run_map(path, capsys)
    assert "data, damaged" in out
    assert "past the end of the file" not in out
    out, _ = run_map(path, capsys, details=True)
    assert "(past the end of the file)" in out
    assert "67,108,864" in out
    out, _ = run_map(path, capsys, details=True, json=True)
    assert [row["problem"] for row in json.loads(out)] == [None, "beyond-end", None, None]


def test_a_snapshot_by_its_name(tmp_path: Path, capsys: Printed) -> None:
    snapshot = SnapshotSpec("1", "mon\x1bday", content={0: Data(3)})
    built = build(ImageSpec(content={0: Data(1)}, snapshots=(snapshot,)))
    path = built.write_to(tmp_path / "disk.qcow2")
    out, _ = run_map(path, capsys, snapshot="1")
    assert 'snapshot 1 "mon\\x1bday"' in out
    assert f"{built.snapshots[0].data[0]:#x}" in out
    out, err = run_map(path, capsys, snapshot="monday", status=234)
    assert out == ""
    assert err.startswith(f"qcow2-dump map: {path}: there is no snapshot 'monday'; there are: ")
    assert err.rstrip("\n").isprintable()


@pytest.mark.parametrize(
    ("name", "kind", "status", "words"),
    [
        ("nowhere", "qcow2", 254, "No such file"),
        ("pipe", "raw", 234, "neither a regular file"),
        ("/dev/zero", "raw", 234, "neither a regular file"),
        ("nbd:localhost:1", "raw", 161, "not the path of a file"),
        ('json:{"driver":"nbd"}', None, 161, "not the path of a file"),
        ("disk.qcow2", "qcow2", 234, "comes back"),
        ("text\x1b[31m", "qcow2", 234, "not a qcow2 image"),
        ("text\x1b[31m", "vmdk", 234, "not read here"),
    ],
)
def test_a_backing_file_that_cannot_be_used(
    name: str, kind: str | None, status: int, words: str, tmp_path: Path, capsys: Printed
) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "text\x1b[31m").write_text("text")
    path = over(tmp_path / "disk.qcow2", name, kind)
    assert run_map(path, capsys)[1] == ""
    out, err = run_map(path, capsys, chain=True, status=status)
    assert out == ""
    assert err.startswith(f"qcow2-dump map: {path}: backing file ")
    assert words in err
    assert err.rstrip("\n").isprintable()


def test_a_data_file_is_opened_only_with_the_chain(
    tmp_path: Path, capsys: Printed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = build(ImageSpec(data_file="data", content={0: Data(1)})).write_to(Path("disk.qcow2"))
    assert "data" in run_map(path, capsys, chain=True)[0]
    Path("data").unlink()
    os.mkfifo("data")
    assert run_map(path, capsys)[1] == ""
    _, err = run_map(path, capsys, chain=True, status=234)
    assert 'data file "data": neither a regular file' in err


def test_files_of_a_chain_are_named_and_closed(tmp_path: Path, capsys: Printed) -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    build(ImageSpec(content={1: Data(1)})).write_to(tmp_path / "base.qcow2")
    path = over(tmp_path / "disk.qcow2", "base.qcow2")
    out, _ = run_map(path, capsys, chain=True)
    assert f"data                0x50000         {tmp_path}/base.qcow2" in out
    over(tmp_path / "base.qcow2", "nowhere")
    run_map(path, capsys, chain=True, status=254)
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_what_is_no_image(tmp_path: Path, capsys: Printed) -> None:
    _, err = run_map(tmp_path / "nowhere", capsys, status=254)
    assert err == f"qcow2-dump map: {tmp_path}/nowhere: No such file or directory\n"
    (tmp_path / "text").write_text("text")
    _, err = run_map(tmp_path / "text", capsys, status=234)
    assert err.startswith(f"qcow2-dump map: {tmp_path}/text: not a qcow2 image")
