"""`locate`: what it prints for a guest and for a host offset."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from qcow2_dump.cli.locate_command import locate
from qcow2_dump.operations.requests import LocateRequest
from tests.builder.build import build
from tests.builder.spec import Compressed, Data, ImageSpec, SnapshotSpec, Subclusters
from tests.builder.std import std_image
from tests.cli.running import environment

Printed = pytest.CaptureFixture[str]


def run_locate(path: Path, printed: Printed, *, status: int = 0, **options: Any) -> tuple[str, str]:
    """Run the command, check its status, and return what it printed."""
    shown = options.pop("json", False)
    request = LocateRequest(image=str(path), **options)
    assert locate(request, json=shown, color="never") == status
    return tuple(printed.readouterr())  # type: ignore[return-value]


def test_the_way_to_a_guest_offset(tmp_path: Path, capsys: Printed) -> None:
    path = std_image().write_to(tmp_path / "disk.qcow2")
    out, err = run_locate(path, capsys, guest=0x10123)
    assert err == ""
    assert out.splitlines() == [
        f"{path}: guest 0x10123, in guest cluster 1",
        "",
        "  active",
        "    L1 entry 0 at file offset 0x30000: 0x8000000000040000 (COPIED)",
        "    L2 table at 0x40000, refcount 1",
        "    L2 entry 1 at file offset 0x40008: 0x8000000000060000 (COPIED)",
        "    data",
        "    host 0x60000-0x6ffff (64 KiB); the byte itself at 0x60123",
        "    host cluster 6 at 0x60000, refcount 1",
    ]


def test_the_same_as_json(tmp_path: Path, capsys: Printed) -> None:
    path = std_image().write_to(tmp_path / "disk.qcow2")
    document = json.loads(run_locate(path, capsys, guest=0x10123, json=True)[0])
    (mapping,) = document.pop("mappings")
    assert document == {
        "schema": "qcow2-dump.locate-guest/1",
        "image": str(path),
        "guest_offset": 0x10123,
        "guest_cluster": 1,
        "cluster_size": 65536,
        "encrypted": False,
        "data_file": None,
        "backing_file": None,
        "outside": {"first": [], "total": 0},
    }
    assert mapping == {
        "trees": {"first": ["active"], "total": 1},
        "l1_entry": {
            "index": 0,
            "offset": 0x30000,
            "raw": 0x8000000000040000,
            "flags": ["COPIED"],
        },
        "l2_table": 0x40000,
        "l2_table_refcount": 1,
        "l2_entry": {
            "index": 1,
            "offset": 0x40008,
            "raw": 0x8000000000060000,
            "flags": ["COPIED"],
        },
        "subclusters": None,
        "subcluster": None,
        "type": "normal",
        "host_offset": 0x60000,
        "host_length": 0x10000,
        "byte_offset": 0x60123,
        "host_clusters": [{"cluster": 6, "refcount": 1}],
        "problem": None,
    }


@pytest.mark.parametrize(
    ("spec", "offset", "words"),
    [
        (ImageSpec(), 0, "unallocated: reads as zeros"),
        (
            ImageSpec(backing_name="ba\x1bck", backing_format="raw"),
            0,
            'reads from the backing file "ba\\x1bck", which is not opened',
        ),
        (ImageSpec(content={0: Compressed(1)}), 5, "L2 entry 0 at file offset 0x40000: 0x4"),
        (ImageSpec(content={0: Compressed(1)}), 5, "compressed data"),
        (
            ImageSpec(extended_l2=True, content={0: Subclusters(0x0000_0004_0000_0002)}),
            4097,
            "subclusters 0x0000000400000002; this is subcluster 2",
        ),
        (ImageSpec(data_file="data", content={0: Data(1)}), 5, 'of the data file "data"; the byte'),
        (ImageSpec(crypt_method=1, content={0: Data(1)}), 5, "data, encrypted"),
    ],
)
def test_other_kinds_of_places(
    spec: ImageSpec, offset: int, words: str, tmp_path: Path, capsys: Printed
) -> None:
    path = build(spec).write_to(tmp_path / "disk.qcow2")
    out, _ = run_locate(path, capsys, guest=offset)
    assert words in out
    assert out.replace("\n", "").isprintable()


def test_damage_on_the_way_is_told(tmp_path: Path, capsys: Printed) -> None:
    built = std_image()
    built.set_l1(0, 0x40200)
    out, _ = run_locate(built.write_to(tmp_path / "disk.qcow2"), capsys, guest=0)
    assert "nobody can tell what is mapped here" in out
    assert "damaged: the L2 table is unaligned" in out


def test_an_l1_entry_past_the_end_is_not_made_up(tmp_path: Path, capsys: Printed) -> None:
    built = build(ImageSpec(content={0: Data(1)}, snapshots=(SnapshotSpec("1", "lost"),)))
    built.poke(built.places.snapshot_records[0], 0x7F00_0000)
    path = built.write_to(tmp_path / "disk.qcow2")
    out, _ = run_locate(path, capsys, guest=0)
    assert out.endswith(
        '  snapshot 1 "lost"\n'
        "    unallocated: reads as zeros\n"
        "    damaged: the L1 entry lies past the end of the file\n"
    )
    document = json.loads(run_locate(path, capsys, guest=0, json=True)[0])
    _, lost = document["mappings"]
    assert (lost["l1_entry"], lost["problem"]) == (None, "l1-beyond-end")


def test_owners_of_a_host_cluster(tmp_path: Path, capsys: Printed) -> None:
    snapshot = SnapshotSpec("1", "monday")
    built = build(ImageSpec(content={2: Data(1)}, snapshots=(snapshot,)))
    path = built.write_to(tmp_path / "disk.qcow2")
    host = built.active.data[2]
    out, _ = run_locate(path, capsys, host=host + 7)
    place = built.l2_entry_offset(0, 2)
    cluster = host >> 16
    assert out.splitlines() == [
        f"{path}: host {host + 7:#x}, in host cluster {cluster} ({host:#x}-{host + 0xFFFF:#x})",
        f"  refcount: stored 2 (at file offset {0x20000 + 2 * cluster:#x}), counted 2",
        "  1 owner:",
        f'    - data of guest 0x20000 (entry at {place:#x}), active, snapshot 1 "monday"',
    ]
    document = json.loads(run_locate(path, capsys, host=host, json=True)[0])
    (claim,) = document["claimants"]
    assert (document["stored_refcount"], document["counted_refcount"]) == (2, 2)
    assert (claim["kind"], claim["guest_offset"], claim["trees"]["total"]) == ("data", 0x20000, 2)


def test_clusters_of_nobody(tmp_path: Path, capsys: Printed) -> None:
    built = std_image()
    built.set_l2(0, 0, 0)
    path = built.write_to(tmp_path / "disk.qcow2")
    out, _ = run_locate(path, capsys, host=0x50000)
    assert "stored 1 (at file offset 0x2000a), counted 0\n  nothing claims this cluster" in out
    out, _ = run_locate(path, capsys, host=1 << 40)
    assert "past the end of the file at 0x80000" in out


def test_owners_past_the_end_of_the_file(tmp_path: Path, capsys: Printed) -> None:
    built = std_image()
    built.set_l2(0, 0, 1 << 40)
    path = built.write_to(tmp_path / "disk.qcow2")
    out, _ = run_locate(path, capsys, host=1 << 40)
    assert out.splitlines()[1:] == [
        "  past the end of the file at 0x80000",
        "  refcount: stored 0",
        "  1 owner:",
        f"    - data of guest 0x0 (entry at {built.l2_entry_offset(0, 0):#x}), active",
    ]


def test_a_data_file_is_told_past_the_end_too(tmp_path: Path, capsys: Printed) -> None:
    spec = ImageSpec(data_file="data", content={0: Data(1)})
    path = build(spec).write_to(tmp_path / "disk.qcow2")
    out, _ = run_locate(path, capsys, host=1 << 40)
    assert out.endswith("guest data lies in the data file, at its guest offset\n")


def test_what_cannot_be_located(tmp_path: Path, capsys: Printed) -> None:
    path = std_image().write_to(tmp_path / "disk.qcow2")
    _, err = run_locate(path, capsys, guest=1 << 60, status=234)
    assert err == (
        f"qcow2-dump locate: {path}: guest offset 0x1000000000000000 lies past the end of the "
        "disk at 0x4000000\n"
    )
    _, err = run_locate(tmp_path / "nowhere", capsys, guest=0, status=254)
    assert err == f"qcow2-dump locate: {tmp_path}/nowhere: No such file or directory\n"


@pytest.mark.parametrize("shown", [True, False])
def test_a_guest_offset_needs_no_arrays(shown: bool, tmp_path: Path) -> None:
    path = std_image().write_to(tmp_path / "disk.qcow2")
    statements = (
        "import sys\n"
        "from qcow2_dump.cli.locate_command import locate\n"
        "from qcow2_dump.operations.requests import LocateRequest\n"
        f"request = LocateRequest(image={str(path)!r}, guest=0)\n"
        f"assert locate(request, json={shown}, color='never') == 0\n"
        "assert 'numpy' not in sys.modules\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", statements],
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
