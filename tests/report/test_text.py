"""The report for people, line by line."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from qcow2_dump.checks.catalogue import RULES
from qcow2_dump.checks.result import CheckResult, LeakTriage, TableStatistics, TreeStatistics
from qcow2_dump.image.image import Image
from qcow2_dump.report.style import Style
from qcow2_dump.report.text import TextOptions, check_report
from tests.builder.spec import SnapshotSpec
from tests.report import samples

DAMAGED = """\
disk.qcow2: CORRUPT - 1 kind of damage, 128 KiB of the guest's disk unreadable, 128 KiB in doubt

  l2.beyond-end   2 L2 entries point past the end of the file
      L2 table 0x40000, entries 3-4 (file offset 0x40018)   guest 0x30000-0x4ffff   \
active, snapshot 1 "monday"
      -> cannot be mended; repair --drop-unusable gives these guest ranges up
  refcount.leak   3 clusters (192 KiB) have a refcount higher than their references
      1 cluster (64 KiB) is waste, which can be freed
      2 clusters (128 KiB) may be guest data that got lost, and will not be freed:
        - an L2 entry is unusable
      cluster 10 (file offset 0xa0000-0xaffff): refcount 1, 0 references, waste
      clusters 11-12 (file offset 0xb0000-0xcffff): refcount 1, 0 references, may be guest data

  checked 1,024 guest clusters (3 allocated), 1 L2 table, 1 snapshot in 0.25 s

  Do not run `qemu-img check -r` on it: that frees 2 clusters (128 KiB) that may be guest data.
  Keep a copy of the file as it is before anything is changed.

  next: qcow2-dump explain l2.beyond-end
        qcow2-dump repair disk.qcow2 --leaks --dry-run
"""


@pytest.fixture
def image(tmp_path: Path) -> Iterator[Image]:
    with samples.sample_image(tmp_path) as opened:
        yield opened


def report(made: CheckResult, image: Image, **options: object) -> list[str]:
    shown = TextOptions(**options)  # type: ignore[arg-type]
    return list(check_report(samples.checked(made), image, shown))


def test_a_sound_image_takes_three_lines(image: Image) -> None:
    assert report(samples.result(), image) == [
        "disk.qcow2: GOOD - nothing is wrong",
        f"  qcow2 version 3, 64 MiB disk in a file of {image.source.size / 1024:.2f} KiB, "
        "64 KiB clusters".replace(".00", ""),
        "  checked 1,024 guest clusters (3 allocated), 1 L2 table, 1 snapshot in 0.25 s",
    ]


def test_a_damaged_image(image: Image) -> None:
    made = samples.result(
        samples.beyond_end(3, "active", "1"),
        samples.beyond_end(4, "active", "1"),
        samples.leak(10, "waste"),
        samples.leak(11, "orphan"),
        samples.leak(12, "orphan"),
        triage=LeakTriage(("an L2 entry is unusable",), waste=1, orphans=2),
    )
    path = Path(image.name)
    shown = [line.replace(str(path), "disk.qcow2") for line in report(made, image)]
    assert shown == DAMAGED.splitlines()


def test_a_shared_cluster_names_every_claimant(image: Image) -> None:
    lines = report(samples.result(samples.shared()), image)
    at = next(i for i, line in enumerate(lines) if "cluster 3 (file offset" in line)
    assert lines[at + 1 : at + 3] == [
        "        - L1 table (named at 0x30000), active",
        '        - data of guest 0x0 (entry at 0x40000), active, snapshot 1 "monday"',
    ]


def test_damage_that_only_snapshots_have_is_told_so(image: Image) -> None:
    lines = report(samples.result(samples.beyond_end(3, "1")), image)
    assert "64 KiB of snapshots unreadable" in lines[0]
    both = [samples.beyond_end(3, "1"), samples.beyond_end(9, "active")]
    assert "128 KiB of the guest's disk" in report(samples.result(*both), image)[0]
    unlisted = samples.result(samples.beyond_end(3, "1"), samples.beyond_end(9, "1"), limit=1)
    assert "128 KiB of the guest's disk" in report(unlisted, image)[0]


def test_the_active_tree_comes_first(image: Image) -> None:
    lines = report(samples.result(samples.beyond_end(3, "1", "active")), image)
    assert any(line.endswith('   active, snapshot 1 "monday"') for line in lines)


def test_snapshots_come_in_the_order_of_their_table(tmp_path: Path) -> None:
    snapshots = tuple(SnapshotSpec(str(i), f"s{i}") for i in range(1, 8))
    with samples.sample_image(tmp_path, "many.qcow2", snapshots=snapshots) as image:
        lines = report(samples.result(samples.beyond_end(3, "7", "2", "1", "active", "5")), image)
    shown = 'active, snapshot 1 "s1", snapshot 2 "s2", snapshot 5 "s5" and 1 more'
    assert any(line.endswith(shown) for line in lines)


def test_clusters_are_only_merged_while_their_guest_ranges_go_on(image: Image) -> None:
    at = {5: 0, 6: 1, 7: 9}
    findings = [
        samples.simple(
            "refcount.low",
            cluster=cluster,
            value=0,
            expected=1,
            guest_offset=guest * samples.CLUSTER,
            guest_length=samples.CLUSTER,
        )
        for cluster, guest in at.items()
    ]
    lines = report(samples.result(*findings), image)
    assert any("clusters 5-6 " in line and "guest 0x0-0x1ffff" in line for line in lines)
    assert any("cluster 7 " in line and "guest 0x90000-0x9ffff" in line for line in lines)


def test_a_handful_of_places_and_how_many_more(image: Image) -> None:
    findings = [samples.beyond_end(index) for index in range(0, 40, 2)]
    lines = report(samples.result(*findings), image)
    assert sum("L2 table 0x40000, entry" in line for line in lines) == 5
    assert "      and 15 more (--errors lists them)" in lines


def test_errors_lists_every_place_with_its_message(image: Image) -> None:
    findings = [samples.beyond_end(index) for index in range(12)]
    lines = report(samples.result(*findings, limit=10), image, errors=True)
    assert sum("L2 table 0x40000, entry" in line for line in lines) == 10
    assert "        entry 7 points to 0x900000" in lines
    assert "      and 2 more, not listed (--max-findings)" in lines


def test_places_of_other_trees_or_tables_are_not_merged(image: Image) -> None:
    made = samples.result(samples.beyond_end(3, "active"), samples.beyond_end(4, "1"))
    lines = report(made, image)
    assert sum("L2 table 0x40000, entry" in line for line in lines) == 2


def test_nothing_from_the_image_reaches_the_terminal_unescaped(tmp_path: Path) -> None:
    names = samples.broken_snapshot_names()
    with samples.sample_image(tmp_path, "a\x1b[2J\n.qcow2", snapshots=names) as image:
        made = samples.result(
            samples.beyond_end(3, "1"),
            samples.simple("snapshot.duplicate-name", 'repeats "\x1b]0;owned\x07"'),
        )
        event = samples.checked(made, image.name)
        options = TextOptions(errors=True, statistics=True)
        lines = list(check_report(event, image, options))
    assert all(line.isprintable() for line in lines)
    assert any(r"\x1b[31m" in line for line in lines)


def test_no_colour_unless_asked(image: Image) -> None:
    made = samples.result(samples.beyond_end(3))
    assert "\x1b" not in "".join(report(made, image))
    coloured = "\n".join(report(made, image, style=Style(color=True)))
    assert "\x1b[1;31mCORRUPT\x1b[0m" in coloured


def test_statistics_show_also_what_is_zero(image: Image) -> None:
    lines = report(samples.result(), image, statistics=True)
    words = [line.split() for line in lines]
    assert ["active:", "L1", "1", "1", "0", "0", "0", "0"] in words
    assert ["snapshot", "1", '"monday":', "L2", "3", "3", "0", "0", "0", "0"] in words
    assert ["corruptions", "0"] in words
    assert ["image", "ends", "at", "524,288", "512", "KiB"] in words


def test_an_interrupted_check_says_so(image: Image) -> None:
    lines = report(samples.result(complete=False), image)
    assert lines[0].startswith("disk.qcow2: INCOMPLETE - interrupted")
    assert lines[-1] == (
        "  stopped after 0.25 s, when 3 allocated clusters of a disk of 1,024 had been seen"
    )


def test_a_sound_snapshot_is_named_when_the_active_tables_are_damaged(image: Image) -> None:
    trees = [
        TreeStatistics(None, examined=False),
        TreeStatistics(0, l1=TableStatistics(used=1), l2=TableStatistics(used=3)),
    ]
    made = samples.result(samples.simple("header.l1-table"), trees=trees)
    assert any('Snapshot 1 "monday" can still be read' in line for line in report(made, image))


def test_a_dirty_image_with_orphans_must_not_be_opened_for_writing(image: Image) -> None:
    made = samples.result(
        samples.simple("header.dirty"),
        samples.leak(9, "orphan"),
        triage=LeakTriage(("an L2 table is empty",), orphans=1),
    )
    lines = report(made, image)
    assert any(line.startswith("  Do not open the image for writing") for line in lines)


@pytest.mark.parametrize("code", RULES)
@pytest.mark.parametrize("errors", [False, True])
def test_every_kind_of_finding_can_be_told(image: Image, code: str, errors: bool) -> None:
    findings = [samples.simple(code), samples.simple(code, offset=0x40, cluster=7)]
    lines = report(samples.result(*findings), image, errors=errors)
    assert any(line.startswith(f"  {code} ") for line in lines)
    assert RULES[code].tell(2).removeprefix("2 clusters ") in "\n".join(lines)


UNSETTLED = """\
disk.qcow2: OTHER - nothing is certain: somebody is writing to the image

  l2.beyond-end   1 L2 entry points past the end of the file (unsettled)
      L2 table 0x40000, entry 3 (file offset 0x40018) (unsettled)   guest 0x30000-0x3ffff   active
  refcount.leak   1 cluster (64 KiB) has a refcount higher than its references (unsettled)
      cluster 10 (file offset 0xa0000-0xaffff): refcount 1, 0 references, may be guest data \
(unsettled)

  checked 1,024 guest clusters (3 allocated), 1 L2 table, 1 snapshot in 0.25 s

  Somebody is writing to the image: what is marked unsettled may be their work in progress. Check
  again when they have finished.

  next: qcow2-dump check disk.qcow2 --lock
"""


def test_nothing_is_certain_of_what_somebody_is_writing(image: Image) -> None:
    made = unsettled(samples.result(samples.beyond_end(3), samples.leak(10, "orphan")), 1, 1)
    made = replace(made, triage=LeakTriage(("an L2 entry is unusable",), orphans=1))
    lines = "\n".join(report(made, image)) + "\n"
    assert lines.replace(image.name, "disk.qcow2") == UNSETTLED


def test_what_is_certain_decides_and_is_told_apart(image: Image) -> None:
    found = samples.beyond_end(3), samples.beyond_end(5), samples.shared()
    lines = report(unsettled(samples.result(*found), 1, 1), image)
    assert lines[0] == (
        "disk.qcow2: CORRUPT - 1 kind of damage, 128 KiB of the guest's disk unreadable"
    )
    assert lines[2].endswith("2 L2 entries point past the end of the file (1 unsettled)")
    assert any(line.startswith("  Somebody is writing to the image") for line in lines)
    assert any("repair --drop-unusable" in line for line in lines)
    assert not any("--reuse" in line for line in lines)


def unsettled(made: CheckResult, *places: int) -> CheckResult:
    """The result with so many unsettled places of each code, the first of each."""
    tallies = {
        code: replace(tally, unsettled=number)
        for (code, tally), number in zip(made.tallies.items(), places, strict=True)
    }
    left = {code: tally.unsettled for code, tally in tallies.items()}
    findings = []
    for finding in made.findings:
        findings.append(replace(finding, settled=left[finding.code] <= 0))
        left[finding.code] -= 1
    return replace(made, tallies=tallies, findings=findings)
