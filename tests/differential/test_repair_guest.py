"""The independent reader of guest content reads what QEMU reads, and tells contents apart."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from tests.corpus import qemu
from tests.corpus.base import MIB, Base, copy_beside
from tests.corpus.bases import BASES
from tests.corpus.cases import Case, all_cases, layout_of, materialize, path_of
from tests.corpus.imagefile import ImageFile
from tests.differential.repair_guest import (
    BELOW,
    FAILS,
    NOTHING,
    Guest,
    Reader,
    read_guest,
    share,
)
from tests.differential.repair_tables import Tables
from tests.support.qemu import run_tool

FULL = os.environ.get("QCOW2_DUMP_FULL") == "1"
PLAIN = [base for base in BASES if not base.encrypted and base.name != "wide"]


def _read_all(path: Path, tree: int, below: bytes) -> bytearray:
    """The whole disk as our reader has it, over the content of the backing file."""
    got = bytearray(below)
    with ImageFile(path, writable=False) as image:
        tables = Tables(image)
        data_path = path.with_name("data.raw") if tables.data_file else path
        with ImageFile(data_path, writable=False) as data:
            reader, found = Reader(tables, data), tables.entries(tables.trees[tree])
            for number, value, bitmap in zip(
                found.guest.tolist(), found.value.tolist(), found.bitmap.tolist(), strict=True
            ):
                if number * tables.cluster_size >= len(got):
                    continue
                content = reader.content(value, bitmap)
                assert content is not None
                _lay_over(got, number * tables.cluster_size, content)
    return got


def _lay_over(got: bytearray, start: int, content: bytes) -> None:
    step = len(content) // 32
    for part in range(0, len(content), step):
        stretch = content[part : part + step]
        at = start + part
        if stretch != BELOW * (step // len(BELOW)) and at < len(got):
            got[at : at + step] = stretch[: len(got) - at]


@pytest.mark.parametrize("base", PLAIN if FULL else PLAIN[::3], ids=lambda base: base.name)
def test_it_reads_what_qemu_reads(base: Base, tmp_path: Path) -> None:
    """Of every tree of a sound image."""
    copy_beside(path_of(base).parent, tmp_path)
    path, raw = tmp_path / "image.qcow2", tmp_path / "out.raw"
    back = tmp_path / "back.raw"
    if (tmp_path / "back.qcow2").exists():
        qemu.img("convert", "-O", "raw", tmp_path / "back.qcow2", back)
    for tree in range(len(layout_of(base).trees)):
        with ImageFile(path, writable=False) as image:
            ident = Tables(image).trees[tree].ident
        chosen = [] if ident is None else ["-l", f"snapshot.id={ident.decode()}"]
        qemu.run(["qemu-img", "convert", *chosen, "-O", "raw", path, raw], folder=tmp_path)
        below = back.read_bytes() if back.exists() else b""
        expected = raw.read_bytes()
        got = _read_all(path, tree, below.ljust(len(expected), b"\0")[: len(expected)])
        assert got == expected
    shutil.rmtree(tmp_path)


DAMAGED = [
    case
    for case in (all_cases() if FULL else all_cases()[::12])
    if not case.base.encrypted
    and not (case.base.traits & {"data-file", "bitmaps"})
    and case.base.name not in ("wide", "backing", "backing-v2", "extended-snapshots")
    and case.damage.name.startswith(("l1-", "l2-", "compressed-", "subclusters", "truncated-data"))
]


@pytest.mark.parametrize("case", DAMAGED, ids=lambda case: case.name)
def test_it_reads_damaged_images_as_qemu(case: Case, tmp_path: Path) -> None:
    """Where QEMU reads all of the active layer; where it does not, ours finds what fails."""
    path, raw = materialize(case, tmp_path), tmp_path / "out.raw"
    done = run_tool("qemu-img", "convert", "-f", "qcow2", "-O", "raw", path, raw)
    guest = read_guest(path)
    disk = range(-(-layout_of(case.base).size // guest.cluster_size))
    fails = any(
        content == FAILS and not tree and number in disk
        for (tree, number), content in guest.clusters.items()
    )
    fails |= any(not tree and at * guest.l2_entries in disk for tree, at in guest.failing)
    if done.returncode == 0:
        assert not fails
        expected = raw.read_bytes()
        assert _read_all(path, 0, bytes(len(expected))) == expected
    elif "Could not open" not in done.stderr:
        assert fails, done.stderr
    shutil.rmtree(path.parent)
    raw.unlink(missing_ok=True)


def _image(folder: Path, name: str, commands: list[str]) -> Path:
    path = folder / name
    qemu.create(path, MIB)
    qemu.io(path, commands)
    return path


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    return _image(tmp_path, "disk.qcow2", ["write -P 1 0 64k", "write -P 2 64k 128k"])


def counts(before: Guest, after: Path) -> tuple[int, int, int]:
    """Clusters kept, of how many, and clusters that read otherwise."""
    found = share(before, read_guest(after))
    return len(found.kept), found.of, found.wrong


def test_equal_disks_are_equal(disk: Path, tmp_path: Path) -> None:
    """Wherever the clusters are, and whatever zeros are stored as."""
    other = _image(
        tmp_path,
        "other.qcow2",
        ["write -P 2 64k 128k", "write -P 1 0 64k", "write -z 512k 64k", "write -P 0 640k 64k"],
    )
    assert counts(read_guest(disk), other) == (3, 3, 0)


@pytest.mark.parametrize(
    ("commands", "expected"),
    [
        (["discard 0 64k"], (2, 3, 1)),
        (["write -P 9 66k 512"], (2, 3, 1)),
        (["write -z 64k 128k"], (1, 3, 2)),
        (["write -P 9 512k 64k"], (3, 3, 1)),
    ],
)
def test_what_differs_is_counted(
    disk: Path, commands: list[str], expected: tuple[int, int, int]
) -> None:
    before = read_guest(disk)
    qemu.io(disk, commands)
    assert counts(before, disk) == expected


@pytest.mark.parametrize(
    ("place", "value", "kept"),
    [
        (0x30000, 0x8000_0000_0004_0200, 0),  # an L2 table inside a cluster
        (0x30000, 0x8000_0000_0100_0000, 0),  # one beyond the end
        (0x40000, 0x8000_0000_0005_0200, 2),  # data inside a cluster
        (0x40000, 0x8000_0000_0006_0000, 2),  # another cluster's data
        (0x40000, 0x4000_0000_0005_0000, 2),  # no such stream
        (0x40000, 0x8000_0000_0005_0001, 2),  # the zero flag
        (0, 0, 0),  # no header
    ],
)
def test_damage_is_seen(disk: Path, place: int, value: int, kept: int) -> None:
    before = read_guest(disk)
    with ImageFile(disk) as image:
        image.put(place, value)
    assert counts(before, disk) == (kept, 3, 3 - kept)


def test_a_flag_or_a_reserved_bit_changes_nothing(disk: Path) -> None:
    before = read_guest(disk)
    with ImageFile(disk) as image:
        image.put(0x40000, 0x0000_0000_0005_0002)
    assert counts(before, disk) == (3, 3, 0)


def test_snapshots_are_read_by_their_id(disk: Path) -> None:
    """Also where another one before it is gone."""
    qemu.img("snapshot", "-c", "one", disk)
    qemu.io(disk, ["write -P 7 0 64k"])
    qemu.img("snapshot", "-c", "two", disk)
    before = read_guest(disk)
    assert len(before.clusters) == 9
    qemu.img("snapshot", "-d", "one", disk)
    assert counts(before, disk) == (6, 9, 3)


def test_a_failing_table_fails_everywhere() -> None:
    guest = Guest(512, 64, {(0, 3): b"x"}, frozenset({(0, 0)}), ())
    assert (guest.at((0, 3)), guest.at((0, 64)), NOTHING.at((0, 0))) == (FAILS, b"", b"")
