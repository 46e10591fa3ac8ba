"""`dump` against an independent recount: text, JSON lines and CSV tell the same."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from qcow2_dump.cli.dump_command import dump_image
from qcow2_dump.operations.requests import DumpFormat, DumpRequest, DumpWhat
from qcow2_dump.report.entry_records import FIELDS, FLAG_FIELDS
from qcow2_dump.report.escape import printable
from tests.builder.spec import SnapshotSpec
from tests.builder.std import std_image
from tests.cli.running import COMMAND, environment, run
from tests.support.classic_lines import Line, parse
from tests.support.images import SAMPLES, Sample
from tests.support.recount import Entry, Recount

RESERVED = 0x3F000000000001FE


def dump(
    path: Path,
    form: DumpFormat = "text",
    *,
    what: DumpWhat = "all",
    snapshot: str = "all",
    flags: bool = False,
) -> tuple[int, str]:
    """The exit status and the output of a dump."""
    out = io.StringIO()
    request = DumpRequest(image=str(path), format=form, what=what, snapshot=snapshot, flags=flags)
    with contextlib.redirect_stdout(out):
        status = dump_image(request)
    return status, out.getvalue()


@pytest.fixture(params=SAMPLES, ids=lambda sample: sample.name)
def sample(request: pytest.FixtureRequest) -> Sample:
    """Each image in turn."""
    chosen: Sample = request.param
    return chosen


def shown(entry: Entry) -> bool:
    """Whether a dump shows an entry: all but those that map nothing and are not wrong."""
    return entry.type != "unallocated" or bool(entry.bitmap or entry.raw & RESERVED)


def test_text_and_recount_agree(sample: Sample, tmp_path: Path) -> None:
    path = sample.make(tmp_path)
    status, text = dump(path)
    if status >= 128:
        # What cannot be opened has no lines, in any form.
        assert text == ""
        return
    truth = Recount(path)
    lines = list(parse(text))
    assert list(mapping_lines(lines)) == [
        (e.tree, e.l1_index, e.l2_index, e.host, e.state if e.state in BAD else None)
        for e in truth.entries
        if e.l2_index is None or shown(e)
    ]
    check_statistics(lines, truth)
    check_refcounts(lines, truth, sound=sample.sound)
    # Odd snapshot records make no entry a bad one.
    assert status in ((0, 5, 8) if sample.sound else range(9))


BAD = ("unaligned", "invalid")


def mapping_lines(
    lines: list[Line],
) -> Iterator[tuple[int | None, int, int | None, int, str | None]]:
    """Tree, L1 index, L2 index, host offset and what is wrong of each mapping entry shown."""
    tree: int | None = None
    l1_index = 0
    for line in lines:
        if line.shape == "snapshot":
            tree = line.number(0)
        elif line.shape == "l1":
            l1_index = line.number(0)
            yield tree, l1_index, None, line.number(1, 16), line.values[5]
        elif line.shape == "l2":
            yield tree, l1_index, line.number(0), line.number(1, 16), line.values[5]


def check_statistics(lines: list[Line], truth: Recount) -> None:
    """The statistics of each table and tree, which add up to the entries that exist."""
    tree: int | None = None
    l1_index = 0
    for line in lines:
        if line.shape == "snapshot":
            tree = line.number(0)
        elif line.shape == "l1":
            l1_index = line.number(0)
        elif line.shape == "l2 entry":
            expected = truth.tables[tree, l1_index]
            names = ("unaligned", "invalid", "unused", "used", "compressed")
            assert [line.number(n) for n in range(5)] == [expected[name] for name in names]
            assert sum(line.number(n) for n in range(4)) == truth.per_table
        elif line.shape in ("L1 Table", "L2 Table"):
            expected = (truth.l1 if line.shape == "L1 Table" else truth.l2)[tree]
            counts = [line.number(n) for n in (0, 1, 3, 4)]
            assert counts == [expected[n] for n in ("unaligned", "invalid", "unused", "used")]
    trees = [line for line in lines if line.shape == "L1 Table"]
    assert len(trees) == len(truth.trees)


def check_refcounts(lines: list[Line], truth: Recount, *, sound: bool) -> None:
    """Stored refcounts are those of the blocks, and the counts are those of the lines."""
    block, seen, in_block = 0, Counter[str](), Counter[str]()
    most = (1 << truth.refcount_bits) - 1
    for line in lines:
        if line.shape == "refcount table":
            block = line.number(0)
            in_block = Counter()
        elif line.shape == "refcount":
            cluster = block * truth.per_block + line.number(0)
            stored, counted = line.number(1), line.number(2)
            assert stored == truth.stored.get(cluster, 0), cluster
            expected = min(counted, most)
            state = "leak" if stored > expected else "error" if stored < expected else None
            assert line.values[3] == state
            if state:
                assert line.number(5) == cluster
                assert line.number(6, 16) == cluster * truth.size
                assert (line.values[4] is not None) == (state == "error" and stored == 0)
            if sound and cluster < truth.clusters:
                assert state is None
            in_block[state or ("used" if stored else "unused")] += 1
        elif line.shape == "refcount entry":
            names = ("error", "leak", "unused", "used")
            assert [line.number(n) for n in range(4)] == [in_block[name] for name in names]
            seen += in_block
        elif line.shape == "Refcount":
            assert [line.number(n) for n in (0, 1, 4)] == [
                seen[n] for n in ("error", "leak", "used")
            ]
            total = sum(line.number(n) for n in (0, 1, 3, 4))
            # One more when something refers to the cluster behind the last one.
            clusters = max(truth.clusters, -(-truth.virtual // truth.size))
            assert total in (clusters, truth.clusters + 1)
        elif line.shape == "Refcount Table":
            counts = [line.number(n) for n in (0, 1, 3, 4)]
            assert sum(counts) == len(truth.blocks)
            assert counts[2] == truth.blocks.count(0)


def records(path: Path, form: DumpFormat) -> list[dict[str, Any]]:
    """The records of a dump with flags, all values as they are in CSV."""
    _, text = dump(path, form, flags=True)
    if form == "csv":
        return list(csv.DictReader(io.StringIO(text)))
    found = [json.loads(line) for line in text.splitlines()]
    fields = [*FIELDS, *FLAG_FIELDS]
    assert all(set(record) <= set(fields) for record in found)
    return [
        {
            field: "" if record.get(field) is None else printable(str(record[field]))
            for field in fields
        }
        for record in found
    ]


def test_json_csv_and_recount_agree(sample: Sample, tmp_path: Path) -> None:
    path = sample.make(tmp_path)
    status, text = dump(path, "csv")
    if status >= 128:
        assert text == ""
        assert dump(path, "jsonl") == (status, "")
        return
    rows = records(path, "csv")
    assert records(path, "jsonl") == rows
    truth = Recount(path)
    mapping = [row for row in rows if row["table"] in ("l1", "l2")]
    expected = [e for e in truth.entries if e.l2_index is None or shown(e)]
    for row, entry in zip(mapping, expected, strict=True):
        assert row["table"] == ("l1" if entry.l2_index is None else "l2")
        assert row["snapshot_index"] == ("" if entry.tree is None else str(entry.tree))
        assert row["l1_index"] == str(entry.l1_index)
        assert row["l2_index"] == ("" if entry.l2_index is None else str(entry.l2_index))
        assert row["entry_offset_bytes"] == str(entry.place)
        assert row["guest_offset_bytes"] == str(entry.guest)
        assert int(row["raw"], 16) == entry.raw
        assert row["type"] == entry.type
        assert row["state"] == entry.state
        assert int(row["host_offset_bytes"] or 0) == entry.host
        assert ("COPIED" in row["flags"]) == bool(entry.raw >> 63)
        if truth.extended and entry.l2_index is not None:
            halves = int(row["subclusters_zero"], 16), int(row["subclusters_allocated"], 16)
            assert halves[0] << 32 | halves[1] == entry.bitmap
    for row in rows:
        if row["table"] == "refcount_block":
            assert int(row["refcount"]) == truth.stored.get(int(row["cluster"]), 0)
    assert_as_many_lines(path, rows)


def assert_as_many_lines(path: Path, rows: list[dict[str, Any]]) -> None:
    """The text has a line for each record."""
    shapes = Counter(line.shape for line in parse(dump(path, flags=True)[1]))
    tables = Counter(row["table"] for row in rows)
    names = {
        "l1": "l1",
        "l2": "l2",
        "refcount table": "refcount_table",
        "refcount": "refcount_block",
        "bitmap": "bitmap_table",
    }
    assert {s: shapes[s] for s in names} == {s: tables[t] for s, t in names.items()}


SNAPSHOTS = (SnapshotSpec("7", "one"), SnapshotSpec("one", "7"))


@pytest.mark.parametrize(
    ("selector", "trees"),
    [
        ("all", ["", "0", "1"]),
        ("active", [""]),
        ("inactive", ["0", "1"]),
        ("7", ["0"]),
        ("one", ["1"]),
        ("snapshot[1]", ["1"]),
    ],
)
def test_trees(selector: str, trees: list[str], tmp_path: Path) -> None:
    path = std_image(snapshots=SNAPSHOTS).write_to(tmp_path / "t.qcow2")
    _, text = dump(path, "csv", snapshot=selector, what="tables")
    found = [row["snapshot_index"] for row in csv.DictReader(io.StringIO(text))]
    assert sorted(set(found)) == trees


def test_no_such_tree(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = std_image().write_to(tmp_path / "t.qcow2")
    status, text = dump(path, snapshot="sunday")
    assert (status, text) == (234, "")
    assert "sunday" in capsys.readouterr().err


@pytest.mark.parametrize("form", ["text", "jsonl", "csv"])
def test_halves(form: DumpFormat, tmp_path: Path) -> None:
    path = std_image().write_to(tmp_path / "t.qcow2")
    tables, refcounts = dump(path, form, what="tables")[1], dump(path, form, what="refcounts")[1]
    assert ("l2" in tables, "refcount" in tables.split("\n", 1)[1]) == (True, False)
    rest = refcounts.split("\n", 1)[1]
    assert ("l2 table" in rest or '"l2"' in rest, "refcount" in rest) == (False, True)


def test_verdict_of_what_was_asked_for(tmp_path: Path) -> None:
    """Refcounts are judged by a walk over everything; a half of the image judges only itself."""
    image = std_image(snapshots=(SnapshotSpec("1", "one", own_tables=True),))
    image.set_refcount(7, 9)
    leaking = image.write_to(tmp_path / "leak.qcow2")
    assert dump(leaking)[0] == 1
    assert dump(leaking, what="refcounts")[0] == 1
    assert dump(leaking, what="refcounts", snapshot="active")[0] == 1
    assert dump(leaking, what="tables")[0] == 0
    image.set_l2(0, 1, 0x200, layer=1)
    damaged = image.write_to(tmp_path / "damaged.qcow2")
    assert dump(damaged, what="tables")[0] == 6
    assert dump(damaged, what="tables", snapshot="1")[0] == 6
    assert dump(damaged, what="tables", snapshot="active")[0] == 0
    assert dump(damaged, snapshot="active")[0] == 6


def test_flags_follow_the_offset(tmp_path: Path) -> None:
    path = std_image().write_to(tmp_path / "t.qcow2")
    _, text = dump(path, flags=True)
    assert "l1 table[   0], l2 offset: 0x40000  [0x8000000000040000: COPIED]\n" in text
    entry = "data offset: 0x50000  [0x8000000000050000: COPIED] | vdisk offset: 0x0\n"
    assert f"\tl2 table[   0], {entry}" in text


def test_a_reader_that_has_seen_enough(tmp_path: Path) -> None:
    path = std_image(virtual_size=8 << 30).write_to(tmp_path / "t.qcow2")
    line = 'set -o pipefail; "$@" | head -1'
    done = subprocess.run(
        ["bash", "-c", line, "bash", *COMMAND, "dump", str(path)],
        capture_output=True,
        text=True,
        env=environment(),
        timeout=60,
        check=False,
    )
    assert done.stdout == "active:\tl1_table_offset: 0x30000, l1_size: 16\n"
    assert (done.returncode, done.stderr) == (141, "")


def test_the_command_and_what_cannot_be_opened(tmp_path: Path) -> None:
    done = run("dump", tmp_path / "nowhere.qcow2", "--format", "jsonl")
    assert (done.returncode, done.stdout) == (254, "")
    assert done.stderr.count("\n") == 1
    path = std_image().write_to(tmp_path / "t.qcow2")
    done = run("dump", path, "--what", "tables", "--format", "csv", "--flags")
    assert (done.returncode, done.stderr) == (0, "")
    assert len(done.stdout.splitlines()) == 5
