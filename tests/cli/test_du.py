"""`du` and `map --picture` as a shell sees them."""

from __future__ import annotations

import csv
import errno
import json
from pathlib import Path

import pytest

from qcow2_dump.cli.main import main
from tests.builder.build import build
from tests.builder.spec import Data, ImageSpec, SnapshotSpec
from tests.cli.running import run
from tests.cli.transcripts import damaged, rich


@pytest.fixture
def image(tmp_path: Path) -> Path:
    return rich().write_to(tmp_path / "rich.qcow2")


def test_it_measures_and_succeeds_on_a_damaged_image_too(tmp_path: Path, image: Path) -> None:
    done = run("du", image)
    assert (done.returncode, done.stderr) == (0, "")
    assert "freed if" in done.stdout
    hurt = damaged().write_to(tmp_path / "damaged.qcow2")
    for words in (("du", hurt), ("map", "--picture", hurt)):
        done = run(*words)
        assert done.returncode == 0
        assert done.stdout.endswith(f"next: qcow2-dump check {hurt}\n")


def test_a_machine_without_enough_memory(
    image: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def starved(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr("qcow2_dump.operations.viewing_space.survey_image", starved)
    for words in (["du"], ["map", "--picture"]):
        assert main([*words, str(image)]) == 256 - errno.ENOMEM
        assert capsys.readouterr().err.endswith("not enough memory\n")


def test_snapshots_whose_records_cannot_be_read_have_a_name(tmp_path: Path, image: Path) -> None:
    cut = tmp_path / "cut.qcow2"
    cut.write_bytes(image.read_bytes()[:112])
    done = run("du", cut)
    assert done.returncode == 0
    (row,) = (line for line in done.stdout.splitlines() if "  snapshot[0]  " in line)
    assert row.split()[1:] == ["-"] * 5
    assert '""' not in done.stdout
    assert "note: the snapshot table cannot be read (2 records): what" in done.stdout
    document = json.loads(run("du", "--json", cut).stdout)
    snapshot = next(tree for tree in document["trees"] if tree["snapshot"] == 0)
    assert {snapshot[key] for key in ("virtual_size", "referenced", "freed")} == {None}
    doubt = next(doubt for doubt in document["doubts"] if doubt["kind"] == "snapshot-records")
    assert doubt["number"] == 2
    assert "tree,snapshot[0],,,,,,,,,,\n" in run("du", "--csv", cut).stdout


def test_a_snapshot_table_that_is_nowhere_is_told(tmp_path: Path) -> None:
    built = rich()
    built.poke(64, 0x123)
    path = built.write_to(tmp_path / "t.qcow2")
    assert "the snapshot table cannot be read (2 records)" in run("du", path).stdout
    sound = rich().write_to(tmp_path / "sound.qcow2")
    assert "cannot be read" not in run("du", sound).stdout


def test_what_an_unusable_table_holds_is_not_known(tmp_path: Path) -> None:
    built = rich()
    record = built.peek(64)
    built.poke(record, 0x123)
    path = built.write_to(tmp_path / "t.qcow2")
    trees = json.loads(run("du", "--json", path).stdout)["trees"]
    first = next(tree for tree in trees if tree["snapshot"] == 0)
    assert (first["virtual_size"], first["exclusive"], first["freed"]) == (256 << 10, None, None)
    assert first["name"] == "monday"
    built.poke(record, 1 << 40)
    path = built.write_to(tmp_path / "far.qcow2")
    document = json.loads(run("du", "--json", path).stdout)
    assert next(t for t in document["trees"] if t["snapshot"] == 0)["freed"] is None
    assert "unreadable-tree" in {doubt["kind"] for doubt in document["doubts"]}
    assert all(tree["exclusive"] is not None for tree in trees if tree is not first)


def test_json_and_csv(image: Path) -> None:
    document = json.loads(run("du", "--json", image).stdout)
    assert document["schema"] == "qcow2-dump.du/1"
    assert document["sets"] is document["without"] is None
    assert run("du", "--csv", image).stdout.startswith("row,what,id,name,")
    done = run("du", "--csv", "--json", image)
    assert (done.returncode, done.stdout) == (234, "")


def test_a_narrow_terminal_says_which_columns_it_has_no_room_for(image: Path) -> None:
    said = " ".join(run("du", image, COLUMNS="60").stdout.split())
    assert "left out for want of room: virtual size, referenced; --json has all" in said
    assert "left out" not in run("du", image, COLUMNS="120").stdout
    # There each number has a line of its own.
    assert "left out" not in run("du", image, COLUMNS="20").stdout


def test_csv_has_what_qualifies_its_figures(tmp_path: Path) -> None:
    hurt = damaged().write_to(tmp_path / "damaged.qcow2")
    document = json.loads(run("du", "--json", hurt).stdout)
    rows = list(csv.DictReader(run("du", "--csv", hurt).stdout.splitlines()))
    told = {row["what"]: row["bytes"] for row in rows if row["row"] == "file"}
    for key in ("length", "allocated", "allocated_free"):
        assert told[key] == str(document[key])
    assert sum(int(row["bytes"]) for row in rows if row["row"] == "part") == document["length"]
    doubts = [(row["what"], row["name"]) for row in rows if row["row"] == "doubt"]
    assert doubts == [(doubt["kind"], doubt["message"]) for doubt in document["doubts"]]
    assert doubts


def test_bytes_that_are_no_text_are_escaped_once(tmp_path: Path) -> None:
    built = rich()
    record = built.places.snapshot_records[0]
    at = built.data.read(record, 200).index(b"monday")
    built.poke(record + at, 0xFF, 1)
    path = built.write_to(tmp_path / "named.qcow2")
    rows = list(csv.DictReader(run("du", "--csv", path).stdout.splitlines()))
    assert "\\xffonday" in {row["name"] for row in rows}
    trees = json.loads(run("du", "--json", path).stdout)["trees"]
    assert "\\xffonday" in {tree["name"] for tree in trees}


def test_snapshots_that_would_go(image: Path) -> None:
    done = run("du", "--without", "monday", "--without", "2", "--without", "snapshot[0]", image)
    assert "frees 81,920 bytes (80 KiB)" in done.stdout
    done = run("du", image, "--without", "nobody")
    assert (done.returncode, done.stdout) == (234, "")
    assert "there is no snapshot 'nobody'" in done.stderr


def test_the_terminal_decides_how_it_looks(image: Path) -> None:
    plain = run("map", "--picture", image, COLUMNS="40", LINES="20", PYTHONIOENCODING="ascii")
    assert plain.stdout.isascii()
    assert max(map(len, plain.stdout.splitlines()[3:])) <= 40
    assert "▓" in run("map", "--picture", image, PYTHONIOENCODING="utf-8").stdout
    assert "\x1b[" in run("map", "--picture", "--color", "always", image).stdout
    assert "\x1b[" not in run("map", "--picture", image).stdout
    assert "#" in run("du", image, COLUMNS="120", PYTHONIOENCODING="latin-1").stdout
    assert "▏" not in run("du", image, COLUMNS="20", PYTHONIOENCODING="utf-8").stdout


@pytest.mark.parametrize(
    ("given", "ascii_only"),
    [
        ({"LC_ALL": "C", "LANG": "en_US.UTF-8"}, True),
        ({"LC_CTYPE": "POSIX", "LANG": "en_US.UTF-8"}, True),
        ({"LANG": "C"}, True),
        ({"LANG": "C", "LC_CTYPE": "C.UTF-8"}, False),
        ({"LANG": "C.UTF-8"}, False),
        ({"LANG": "C", "PYTHONIOENCODING": "utf-8"}, False),
        ({}, False),
    ],
)
def test_the_locale_decides_on_shapes(
    image: Path, monkeypatch: pytest.MonkeyPatch, given: dict[str, str], ascii_only: bool
) -> None:
    for name in ("LC_ALL", "LC_CTYPE", "LANG", "PYTHONIOENCODING", "PYTHONUTF8"):
        monkeypatch.delenv(name, raising=False)
    for words in (("du",), ("map", "--picture")):
        assert run(*words, image, **given).stdout.isascii() == ascii_only


def test_only_a_terminal_cuts_names(tmp_path: Path) -> None:
    name = "a name of many words " * 5
    spec = ImageSpec(
        content={0: Data(1)}, virtual_size=1 << 20, snapshots=(SnapshotSpec("1", name),)
    )
    path = build(spec).write_to(tmp_path / "t.qcow2")
    assert name in run("du", path).stdout
    cut = run("du", path, COLUMNS="70").stdout
    assert max(map(len, cut.splitlines())) <= 70
    assert '1 "a name' in cut
    assert name not in cut


@pytest.mark.parametrize("option", ["--json", "--details", "--chain", "--snapshot=1"])
def test_a_picture_is_of_the_whole_file(image: Path, option: str) -> None:
    done = run("map", "--picture", option, image)
    assert (done.returncode, done.stdout) == (234, "")
    assert f"{option.partition('=')[0]} means nothing there" in done.stderr


def test_what_is_no_image(tmp_path: Path) -> None:
    for words in (("du",), ("map", "--picture")):
        done = run(*words, tmp_path / "nowhere")
        assert (done.returncode, done.stdout) == (254, "")
        assert done.stderr.startswith(f"qcow2-dump {words[0]}: ")


def test_it_changes_nothing_and_opens_nothing_else(tmp_path: Path) -> None:
    path = build(ImageSpec(backing_name="nowhere", content={0: Data(1)})).write_to(
        tmp_path / "t.qcow2"
    )
    before = path.read_bytes()
    assert run("du", path, "--sets").returncode == 0
    assert run("map", path, "--picture").returncode == 0
    assert path.read_bytes() == before
