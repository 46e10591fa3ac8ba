"""The classic report: its sections, what each mode adds, and that its numbers add up."""

from __future__ import annotations

import contextlib
import io
import subprocess
from pathlib import Path

import pytest

from qcow2_dump.cli.asked import ClassicView
from qcow2_dump.cli.classic_report_command import print_classic_report
from qcow2_dump.operations.requests import CheckRequest, DumpRequest
from tests.builder.build import build
from tests.builder.built import BuiltImage
from tests.builder.spec import BitmapSpec, Data, ImageSpec, SnapshotSpec
from tests.builder.std import std_image
from tests.cli.running import COMMAND, environment, run
from tests.support.classic_lines import Line, parse
from tests.support.images import SAMPLES, Sample
from tests.support.recount import Recount

STATISTICS = ("L1 Table", "L2 Table", "Bitmap Table", "Refcount Table", "Refcount")


def report(
    path: Path, mode: str = "check", *, flags: bool = False, **view: object
) -> tuple[int, str]:
    """The exit status and the classic report in one of its three modes."""
    request: CheckRequest | DumpRequest = CheckRequest(images=(str(path),), errors=mode == "error")
    if mode == "dump":
        request = DumpRequest(image=str(path), flags=flags)
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        shown = ClassicView(**view)  # type: ignore[arg-type]
        status = print_classic_report(request, shown, color="never")
    return status, out.getvalue()


def headings(text: str) -> list[str]:
    """The sections of a report."""
    lines = text.splitlines()
    return [lines[at + 2] for at, line in enumerate(lines) if line == "=" * 80]


@pytest.fixture(params=SAMPLES[::2], ids=lambda sample: sample.name)
def sample(request: pytest.FixtureRequest) -> Sample:
    """Every other image in turn: each is read entry by entry, three times."""
    chosen: Sample = request.param
    return chosen


def test_the_modes_agree(sample: Sample, tmp_path: Path) -> None:
    """The same verdict and statistics; `error` has the bad lines of `dump`, `check` has none."""
    path = sample.make(tmp_path)
    status, text = report(path)
    if status >= 128:
        assert text == ""
        assert report(path, "dump") == report(path, "error") == (status, "")
        return
    modes = {"check": text}
    for mode in ("error", "dump"):
        same, modes[mode] = report(path, mode)
        assert same == status
    assert len({headings_without_others(found) for found in modes.values()}) == 1
    found = {mode: list(parse(text)) for mode, text in modes.items()}
    kept = {m: [line for line in lines if line.shape in STATISTICS] for m, lines in found.items()}
    assert kept["check"] == kept["error"] == kept["dump"]
    assert {line.shape for line in found["check"]} <= {*STATISTICS, "snapshot", "tables of"}
    assert bad_entries(modes["error"]) == bad_entries(modes["dump"])
    check_sums(kept["check"], path)


def headings_without_others(text: str) -> tuple[str, ...]:
    """The sections but for the findings about no entry, which `check` does not list."""
    return tuple(heading for heading in headings(text) if heading != "Other findings:")


MARKS = ("[unaligned]", "[invalid]", "[leak]", "[error]")
ENTRIES = ("l1", "l2", "refcount table", "refcount", "bitmap")


def bad_entries(text: str) -> list[str]:
    """The lines of entries with something wrong, and what is said of each on lines below."""
    bad: list[str] = []
    entry = ""
    for line in text.splitlines():
        shapes = [found.shape for found in parse(line)]
        if shapes and shapes[0] in ENTRIES:
            entry = line
            if (
                "[unaligned]" in line
                or "[invalid]" in line
                or "[leak]" in line
                or "[error]" in line
            ):
                bad.append(line)
        elif line.startswith("\t\t") and not line.startswith(("\t\tsubclusters: ", *CURIOUS)):
            bad += [entry, line]
    return bad


# Curiosities do not make an entry a bad one.
CURIOUS = ("\t\tCOPIED without an offset", "\t\tbit 0 is set")


def check_sums(lines: list[Line], path: Path) -> None:
    """Per table, used + unused + unaligned + invalid are the entries that exist."""
    truth = Recount(path)
    shapes = [line.shape for line in lines]
    places = [at for at, shape in enumerate(shapes) if shape == "L1 Table"]
    for tree, at in zip(truth.trees, places, strict=True):
        for line, entries in ((lines[at], truth.l1), (lines[at + 1], truth.l2)):
            counts = [line.number(n) for n in (0, 1, 3, 4)]
            expected = [entries[tree.index][n] for n in ("unaligned", "invalid", "unused", "used")]
            assert counts == expected
    table = next(line for line in lines if line.shape == "Refcount Table")
    assert sum(table.number(n) for n in (0, 1, 3, 4)) == len(truth.blocks)
    clusters = max(truth.clusters, -(-truth.virtual // truth.size))
    refcounts = next(line for line in lines if line.shape == "Refcount")
    total = sum(refcounts.number(n) for n in (0, 1, 3, 4))
    assert total in (clusters, truth.clusters + 1)


ALL_SECTIONS = [
    "Active tables:",
    "Snapshots:",
    "Bitmaps:",
    "Refcount structures:",
    "COPIED flags of the active tables:",
    "Clusters with several owners:",
    "Summary:",
]


def rich() -> BuiltImage:
    """An image with a bit of everything."""
    return std_image(
        snapshots=(SnapshotSpec("1", "monday"), SnapshotSpec("2", "tuesday", own_tables=True)),
        bitmaps=(BitmapSpec("dirty", table={0: b"\xff"}),),
    )


@pytest.mark.parametrize("mode", ["check", "error", "dump"])
def test_sections_in_their_order(mode: str, tmp_path: Path) -> None:
    path = rich().write_to(tmp_path / "t.qcow2")
    _, text = report(path, mode)
    assert text.startswith(f"\nFile: {path}\n")
    assert headings(text) == ALL_SECTIONS
    _, text = report(path, mode, what="tables", prealloc=True)
    assert headings(text) == [*ALL_SECTIONS[:3], "Preallocated layout:", "Summary:"]
    _, text = report(path, mode, what="refcounts")
    assert headings(text) == ALL_SECTIONS[3:]
    _, text = report(path, mode, owners=False)
    assert headings(text) == [*ALL_SECTIONS[:4], "Summary:"]


@pytest.mark.parametrize(
    ("selector", "trees"),
    [("all", 3), ("active", 1), ("inactive", 2), ("2", 1), ("monday", 1), ("snapshot[1]", 1)],
)
def test_selected_trees(selector: str, trees: int, tmp_path: Path) -> None:
    path = rich().write_to(tmp_path / "t.qcow2")
    for mode in ("check", "dump"):
        lines = list(parse(report(path, mode, snapshot=selector)[1]))
        assert sum(line.shape == "L1 Table" for line in lines) == trees
        # The list of snapshots is part of the report whatever is chosen.
        assert sum(line.shape == "snapshot" for line in lines) == 2


def test_refcounts_of_a_half_are_not_judged(tmp_path: Path) -> None:
    image = rich()
    image.set_refcount(5, 77)
    path = image.write_to(tmp_path / "t.qcow2")
    assert report(path)[0] == 1
    assert report(path, snapshot="active")[0] == 1
    status, text = report(path, what="tables")
    assert status == 0
    assert "Refcounts were not asked for" in text


def test_each_bad_entry_is_listed_however_many_there_are(tmp_path: Path) -> None:
    """A check keeps a thousand findings of a kind; the report lists all entries."""
    content = {guest: Data(1) for guest in range(3000)}
    image = std_image(virtual_size=256 << 20, content=content)
    for guest in range(3000):
        image.set_l2(0, guest, 0x8000000000000200 + (guest << 16) + (1 << 40))
    text = report(image.write_to(tmp_path / "t.qcow2"), "error")[1]
    shapes = [line.shape for line in parse(text)]
    assert shapes.count("l2") == 3000
    assert shapes.count("refcount") == 3000
    assert text.count("COPIED set in L2 entry ") == 3000


def test_copied_flags(tmp_path: Path) -> None:
    image = std_image()
    image.set_l1(0, 0x40000)
    image.set_l2(0, 1, 0x60000)
    text = report(image.write_to(tmp_path / "t.qcow2"), "error")[1]
    assert (
        "COPIED missing in L1 entry 0 | offset: 0x40000 | refcount: 1 | vdisk offset: 0x0\n"
        "COPIED missing in L2 entry 1, L1 entry 0 | offset: 0x60000 | refcount: 1"
        " | vdisk offset: 0x10000\n"
        "COPIED wrong:   l1: 1, l2: 1\n"
    ) in text


def test_owners(tmp_path: Path) -> None:
    image = std_image()
    image.set_l2(0, 1, 0x8000000000050000)
    text = report(image.write_to(tmp_path / "t.qcow2"), "error")[1]
    assert (
        "cluster[5] offset: 0x50000 | refcount: 1 | reference: 2 | owners: 2\n"
        "\tdata of guest 0x0 (entry at 0x40000), active\n"
        "\tdata of guest 0x10000 (entry at 0x40008), active\n"
        "Shared:         1\n"
    ) in text


def test_preallocated_layout(tmp_path: Path) -> None:
    image = std_image()
    image.set_l2(0, 1, 0x8000000000070000)
    image.set_l2(0, 2, 0x8000000000060000)
    path = image.write_to(tmp_path / "t.qcow2")
    text = report(path, prealloc=True)[1]
    assert "\nElsewhere:      2 of 3 data clusters\n" in text
    assert (
        "data cluster of L2 entry 1, L1 entry 0 | offset: 0x70000 | preallocated: 0x60000"
        " | vdisk offset: 0x10000\n"
    ) in text
    path = rich().write_to(tmp_path / "s.qcow2")
    assert "Elsewhere:      0 of 0 data clusters" in report(path, prealloc=True)[1]


def test_summary_of_a_full_disk(tmp_path: Path) -> None:
    content = {guest: Data(1) for guest in range(16)}
    path = std_image(virtual_size=1 << 20, content=content).write_to(tmp_path / "t.qcow2")
    text = report(path)[1]
    # Written with holes; what is on disk is less than the disk unless the file system fills them.
    assert "preallocation:  metadata\n" in text or "preallocation:  full\n" in text
    assert "Active layer:   1048576 bytes held by it alone (1 MiB)\n" in text
    gap = std_image(virtual_size=1 << 20).write_to(tmp_path / "gap.qcow2")
    assert "preallocation:  off\n" in report(gap)[1]


def test_the_snapshot_to_go_back_to(tmp_path: Path) -> None:
    image = rich()
    image.set_l2(0, 0, 0x7F00000000)
    # The first snapshot shares the damaged table, the second one has its own.
    text = report(image.write_to(tmp_path / "t.qcow2"))[1]
    assert 'Go back to:     snapshot[1] (snapshot 2 "tuesday"), the newest snapshot' in text
    image = rich()
    image.set_l2(0, 0, 0x7F00000000, layer=2)
    text = report(image.write_to(tmp_path / "s.qcow2"))[1]
    assert 'First damaged:  snapshot[1] (snapshot 2 "tuesday"); the active tables are sound' in text
    text = report(rich().write_to(tmp_path / "u.qcow2"))[1]
    assert "Go back to" not in text
    assert "First damaged" not in text


def test_the_last_line_is_the_next_command(tmp_path: Path) -> None:
    image = std_image()
    image.set_refcount(6, 0)
    path = image.write_to(tmp_path / "t.qcow2")
    for mode in ("check", "error", "dump"):
        assert report(path, mode)[1].splitlines()[-1].startswith("next: qcow2-dump ")


def test_findings_about_no_entry_are_listed(tmp_path: Path) -> None:
    image = rich()
    image.poke(image.places.snapshot_records[0], 0x80200)
    path = image.write_to(tmp_path / "t.qcow2")
    for mode in ("error", "dump"):
        status, text = report(path, mode)
        assert status == 5
        assert "\nsnapshot.l1-table: snapshot record 0: " in text
        assert "the L1 table cannot be read where it is said to be\n" in text
    assert "snapshot.l1-table: snapshot record" not in report(path)[1]


def test_hostile_names(tmp_path: Path) -> None:
    spec = SnapshotSpec("1", "a\x1b[31m\u202eb\n")
    bitmap = BitmapSpec("x\x1b]0;y\x07")
    path = std_image(snapshots=(spec,), bitmaps=(bitmap,)).write_to(tmp_path / "t.qcow2")
    for mode in ("check", "error", "dump"):
        text = report(path, mode)[1]
        assert all(line.isprintable() for line in text.replace("\t", "").splitlines())


def test_through_the_classic_options(tmp_path: Path) -> None:
    path = build(ImageSpec(virtual_size=1 << 20)).write_to(tmp_path / "t.qcow2")
    done = run("-m", "check", path)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == report(path)[1]
    done = run("-fmdump", path)
    assert done.stdout == report(path, "dump", flags=True)[1]
    done = run("-m", "error", "--output=snapshot", "-s", "active", path)
    assert done.stdout == report(path, "error", what="tables", snapshot="active")[1]
    done = run("-m", "check", tmp_path / "nowhere.qcow2")
    assert (done.returncode, done.stdout) == (254, "")


def test_a_reader_that_has_seen_enough(tmp_path: Path) -> None:
    path = std_image(virtual_size=8 << 30).write_to(tmp_path / "t.qcow2")
    line = 'set -o pipefail; "$@" | head -2'
    done = subprocess.run(
        ["bash", "-c", line, "bash", *COMMAND, "-m", "dump", str(path)],
        capture_output=True,
        text=True,
        env=environment(),
        timeout=60,
        check=False,
    )
    assert done.stdout == f"\nFile: {path}\n"
    assert (done.returncode, done.stderr) == (141, "")
