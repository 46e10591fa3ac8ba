"""What `du` prints: the report for people, the document, the table for spreadsheets."""

from __future__ import annotations

import csv
import json
import unicodedata
from dataclasses import replace
from pathlib import Path

import jsonschema
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from qcow2_dump.checks.space.doubts import Doubt
from qcow2_dump.checks.space.measured import Measured
from qcow2_dump.image.image import Image, open_image
from qcow2_dump.image.resolver import NeverLook
from qcow2_dump.operations.requests import DuRequest
from qcow2_dump.operations.viewing_space import measure
from qcow2_dump.report.bars import bar
from qcow2_dump.report.paper import Paper
from qcow2_dump.report.space_document import DuDocument
from qcow2_dump.report.space_json import du_document, du_rows, to_line
from qcow2_dump.report.space_text import space_text
from qcow2_dump.report.units import share
from qcow2_dump.storage.memory import MemorySource
from scripts.generate_docs import DOCS
from scripts.json_schema import schema_of
from tests.builder.build import build
from tests.builder.built import BuiltImage
from tests.builder.spec import Compressed, Data, ImageSpec, SnapshotSpec
from tests.cli.transcripts import damaged, rich

TEXT = """\
rich.qcow2: a file of 288 KiB, 304 KiB on disk

  what fills the file              bytes            share
  bitmaps                         65,536   64 KiB  22.2 %  █████████████████████
  L1 tables                       49,152   48 KiB  16.7 %  ███████████████▊
  L2 tables                       32,768   32 KiB  11.1 %  ██████████▌
  refcount table and blocks       32,768   32 KiB  11.1 %  ██████████▌
  data shared with snapshots      32,768   32 KiB  11.1 %  ██████████▌
  data only snapshots hold        32,768   32 KiB  11.1 %  ██████████▌
  header                          16,384   16 KiB   5.6 %  █████▎
  snapshot table                  16,384   16 KiB   5.6 %  █████▎
  unused beside compressed data   15,360   15 KiB   5.2 %  ████▉
  compressed data                  1,024    1 KiB   0.3 %  ▎
  the whole file                 294,912  288 KiB
  free, but kept on disk           8,192    8 KiB

                       virtual                                 freed if
                          size  referenced  shared  exclusive   deleted
  2 "tuesday\\x1b[31m"  256 KiB      96 KiB  32 KiB     64 KiB    64 KiB  ███████
  active               256 KiB      80 KiB  64 KiB     16 KiB         -  █▊
  1 "monday"           256 KiB      80 KiB  64 KiB     16 KiB    16 KiB  █▊

   freed  only together  deleting
  80 KiB              -  1 "monday", 2 "tuesday\\x1b[31m"

  deleting 1 "monday":
  frees 16,384 bytes (16 KiB)
"""

DAMAGE = """\
  note: the image is damaged in 7 places: sums hold for what can still be
    reached
  note: 2 pointers lead past the end of the file or between clusters: what
    belongs there is not counted
  note: 128 KiB have a refcount lower than their references: what deleting frees
    there is uncertain, and not counted

  next: qcow2-dump check damaged.qcow2
"""


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def measured(built: BuiltImage, name: str, **asked: object) -> tuple[Measured, Image]:
    """An image and its sums, with what differs from file system to file system put in."""
    path = built.write_to(Path(name))
    with open_image(path) as image:
        found = measure(image, DuRequest(image=name, **asked))  # type: ignore[arg-type]
        sums = replace(found.sums, allocated_free=8192)
        return replace(found, allocated=304 << 10, sums=sums), image


def text(found: Measured, image: Image, paper: Paper) -> str:
    return "".join(f"{line}\n" for line in space_text(found, image, paper))


def test_the_report_on_a_sound_image() -> None:
    found, image = measured(rich(), "rich.qcow2", sets=True, without=("1",))
    assert text(found, image, Paper(80)) == TEXT


def test_the_report_on_a_damaged_image_says_what_it_cannot_tell() -> None:
    found, image = measured(damaged(), "damaged.qcow2")
    shown = text(found, image, Paper(80, unicode=False))
    assert shown.endswith(f"\n\n{DAMAGE}")
    assert shown.isascii()


def test_the_document_fits_its_schema() -> None:
    schema = json.loads((DOCS / "du.schema.json").read_text(encoding="utf-8"))
    for built, name in ((rich(), "rich.qcow2"), (damaged(), "damaged.qcow2")):
        found, image = measured(built, name, sets=True, without=("1",))
        document = json.loads(to_line(du_document(found, image)))
        jsonschema.validate(document, schema)
        jsonschema.validate(document, schema_of("closed", DuDocument, closed=True))
        assert sum(part["bytes"] for part in document["parts"]) == document["length"]
        for tree in document["trees"]:
            assert tree["exclusive"] + tree["shared"] == tree["referenced"]
        del document["trees"]
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(document, schema)


def test_names_are_text_and_never_formulas_or_escapes() -> None:
    names = ("=cmd|'/C calc'!A0", "+1", 'a,b"c\nd', "\x1b[31mred", "\u202eevil", "-2")
    snapshots = tuple(SnapshotSpec(str(i + 1), name) for i, name in enumerate(names))
    built = build(ImageSpec(content={0: Data(1)}, virtual_size=1 << 20, snapshots=snapshots))
    found, image = measured(built, "t.qcow2", sets=True)
    table = list(csv.DictReader(du_rows(found, image)))
    shown = {row["id"]: row["name"] for row in table if row["row"] == "tree" and row["id"]}
    assert len(shown) == len(names)
    assert all(name[0] not in "=+-@" and name.isprintable() for name in shown.values())
    paper = text(found, image, Paper())
    assert all(line.isprintable() for line in paper.splitlines())
    document = du_document(found, image)
    assert {tree["name"] for tree in document["trees"]} == {None, *names}
    assert to_line(document).isascii()


def test_the_table_adds_up() -> None:
    found, image = measured(rich(), "rich.qcow2", without=("1", "2"))
    table = list(csv.DictReader(du_rows(found, image)))
    parts = [int(row["bytes"]) for row in table if row["row"] == "part"]
    assert sum(parts) == found.sums.length
    assert parts == sorted(parts, reverse=True)
    chosen = next(row for row in table if row["row"] == "set")
    assert (chosen["what"], chosen["freed"]) == ("snapshot[0] snapshot[1]", str(80 << 10))


@pytest.mark.parametrize(
    ("value", "unicode", "shown"),
    [
        (0, True, ""),
        (1, True, "▏"),
        (1, False, "#"),
        (500, True, "█████"),
        (560, True, "█████▌"),
        (1000, False, "#" * 10),
    ],
)
def test_bars(value: int, unicode: bool, shown: str) -> None:
    assert bar(value, 1000, 10, unicode=unicode) == shown


@pytest.mark.parametrize(
    ("part", "shown"),
    [(0, "0.0 %"), (1, "< 0.1 %"), (12_345, "12.3 %"), (99_999, "> 99.9 %"), (100_000, "100.0 %")],
)
def test_shares(part: int, shown: str) -> None:
    assert share(part, 100_000) == shown


_NAMES = st.text("a日\u0301 -/e\x1b\u202e😀", max_size=60) | st.text(max_size=60)


@settings(
    deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    columns=st.integers(20, 200),
    unicode=st.booleans(),
    path=_NAMES,
    ids=st.lists(_NAMES.filter(bool), min_size=1, max_size=3),
    name=_NAMES,
)
def test_nothing_is_wider_than_the_terminal(
    columns: int, unicode: bool, path: str, ids: list[str], name: str
) -> None:
    snapshots = tuple(SnapshotSpec(each, name, vm_state_size=1 << 16) for each in ids)
    content = {0: Data(1), 1: Compressed(2)}
    built = build(ImageSpec(content=content, virtual_size=(1 << 36) - 512, snapshots=snapshots))
    built.set_l2(0, 3, 1 << 50)
    data = built.data.to_bytes()
    with Image(MemorySource(data, path), NeverLook()) as image:
        found = measure(image, DuRequest(image=path, sets=True, without=("snapshot[0]",)))
    found = replace(found, doubts=[*found.doubts, Doubt("unreadable-tree", tree=1)])
    paper = Paper(columns, unicode)
    shown = list(space_text(found, image, paper))
    assert shown.pop().startswith("  next: ")
    for line in shown:
        assert sum(map(terminal_columns, line)) <= columns, line
        assert line.isprintable()
        assert unicode or line.isascii()
    bars = [line for line in shown if line.endswith("█" if unicode else "#")]
    assert len(bars) >= 2 * (columns >= 60)


def terminal_columns(character: str) -> int:
    """What a terminal takes for a character, as POSIX's wcwidth says it."""
    if unicodedata.combining(character):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def test_names_are_whole_where_there_is_no_terminal() -> None:
    long = "a name of many words " * 10
    snapshots = (SnapshotSpec("1", long), SnapshotSpec("2", "短い名前"))
    built = build(ImageSpec(content={0: Data(1)}, virtual_size=1 << 20, snapshots=snapshots))
    found, image = measured(built, "t.qcow2", sets=True)
    endless = text(found, image, Paper(80, endless=True))
    assert f'  1 "{long}"  ' in endless
    assert "freed if" in endless
    assert "█" in endless
    for columns in (30, 80):
        cut = text(found, image, Paper(columns))
        assert long not in cut
        assert '1 "a name' in cut
        assert '…"' in cut
        assert '2 "短い名前"' in cut
    assert '2 "\\u77ed' in text(found, image, Paper(80, unicode=False))


def test_many_snapshots_without_tables_make_few_notes() -> None:
    snapshots = tuple(SnapshotSpec(str(n), "lost") for n in range(1, 41))
    built = build(ImageSpec(content={0: Data(1)}, virtual_size=1 << 20, snapshots=snapshots))
    for record in built.places.snapshot_records:
        built.poke(record, 1 << 40)
    found, image = measured(built, "t.qcow2")
    assert sum(doubt.kind == "unreadable-tree" for doubt in found.doubts) == 40
    notes = [line for line in text(found, image, Paper()).splitlines() if "note" in line]
    assert 20 <= len(notes) <= 22
    assert notes[-1].endswith("more notes, which --json lists")


def test_names_in_a_list_are_not_broken() -> None:
    snapshots = tuple(SnapshotSpec(str(n), f"of the day {n}") for n in range(1, 7))
    built = build(ImageSpec(content={0: Data(1)}, virtual_size=1 << 20, snapshots=snapshots))
    found, image = measured(built, "t.qcow2", sets=True)
    shown = text(found, image, Paper(60))
    for name in ('1 "of the day 1",', '2 "of the day 2",', '4 "of the day 4"', "and 2 more"):
        assert name in shown


def test_a_narrow_terminal_has_a_line_for_each_number() -> None:
    found, image = measured(rich(), "rich.qcow2")
    shown = text(found, image, Paper(30)).splitlines()
    at = shown.index("  active")
    assert shown[at + 1 : at + 3] == [
        "    virtual size     256 KiB",
        "    referenced        80 KiB",
    ]
