"""The picture of a file: what it shows, how it fits a terminal, and that damage never hides."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from qcow2_dump.report.fitting import width
from qcow2_dump.report.paper import Paper
from qcow2_dump.report.space_picture import picture
from qcow2_dump.report.space_words import DAMAGED, LOOKS
from qcow2_dump.report.style import Style
from tests.builder.build import build
from tests.builder.spec import Data, ImageSpec
from tests.checks.space.surveys import surveyed
from tests.cli.transcripts import damaged, rich

WIDE = """\
rich.qcow2: 288 KiB; a character is one cluster (16 KiB)

      0x0  HRR12▓▓≡112▒▒SBBBB

  H header                       5.6 %  B bitmaps                     22.2 %
  S snapshot table               5.6 %  ▓ data shared with snapshots  11.1 %
  1 L1 tables                   16.7 %  ▒ data only snapshots hold    11.1 %
  2 L2 tables                   11.1 %  ≡ compressed                   5.6 %
  R refcount structures         11.1 %
"""

NARROW = """\
damaged.qcow2: 1.19 MiB
  a character is one cluster
  (64 KiB)

  HRRXXX%??%%%%%%%%1S

  H header 5.3 %
  S snapshot table 5.3 %
  1 L1 tables 10.5 %
  2 L2 tables 5.3 %
  R refcount structures 10.5 %
  % data shared with snapshots
    52.6 %
  ? leaked 10.5 %
  X damaged, any of it 15.8 %

  next: qcow2-dump check damaged.qcow2
"""


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def drawn(path: Path, paper: Paper, lines: int = 24) -> str:
    with surveyed(path) as survey:
        return "".join(f"{line}\n" for line in picture(survey, paper, lines))


def test_a_sound_image_on_a_usual_terminal() -> None:
    assert drawn(rich().write_to(Path("rich.qcow2")), Paper()) == WIDE


def test_a_damaged_image_on_a_narrow_one_without_unicode() -> None:
    path = damaged().write_to(Path("damaged.qcow2"))
    assert drawn(path, Paper(30, unicode=False)) == NARROW
    assert drawn(path, Paper(30, unicode=False)).isascii()


def test_colours_add_nothing_that_is_not_there_without_them() -> None:
    path = damaged().write_to(Path("damaged.qcow2"))
    colored = drawn(path, Paper(style=Style(color=True)))
    assert "\x1b[1;97;41mXXX\x1b[0m" in colored
    assert re.sub(r"\x1b\[[0-9;]*m", "", colored) == drawn(path, Paper())


def test_every_look_is_told_apart_by_its_character() -> None:
    looks = [*LOOKS.values(), DAMAGED]
    for characters in ({look.character for look in looks}, {look.plain for look in looks}):
        assert len(characters) == len(looks)
        assert all(len(character) == 1 for character in characters)
    assert all(look.plain.isascii() for look in looks)


@pytest.mark.parametrize(("columns", "lines"), [(80, 24), (200, 60), (50, 20), (20, 30)])
def test_it_fits_the_terminal(columns: int, lines: int) -> None:
    content = {guest: Data(1) for guest in range(3000)}
    path = build(ImageSpec(cluster_bits=9, virtual_size=2 << 20, content=content)).write_to(
        Path("many.qcow2")
    )
    shown = drawn(path, Paper(columns), lines).splitlines()
    assert len(shown) < lines
    rows = [line for line in shown if "█" in line and "%" not in line]
    assert len(rows) >= 4
    assert max(map(len, shown)) <= columns


@pytest.mark.parametrize("columns", range(20, 201, 12))
@pytest.mark.parametrize("name", ["long " * 20, "日本語" * 12, "x\u0301" * 50, "\x1b[31m" * 9])
def test_a_long_name_fits_too(columns: int, name: str) -> None:
    path = rich().write_to(Path(f"{name}.qcow2"))
    for unicode in (False, True):
        shown = drawn(path, Paper(columns, unicode=unicode)).splitlines()
        assert max(map(width, shown)) <= columns
        assert ".qcow2" in shown[0]


@pytest.mark.parametrize("columns", [16, 80])
def test_one_damaged_cluster_shows_among_thousands(columns: int) -> None:
    content = {guest: Data(1) for guest in range(3000)}
    built = build(ImageSpec(cluster_bits=9, virtual_size=2 << 20, content=content))
    cluster = built.active.data[1234] // 512
    # Beside the cluster itself, the table has a flag that is wrong by that.
    built.set_refcount(cluster, 0)
    shown = drawn(built.write_to(Path("t.qcow2")), Paper(columns), 20)
    cells, legend = shown.split("\n\n")[1:3]
    assert cells.count("X") == 2
    assert "X damaged, any" in legend


def test_names_are_escaped(tmp_path: Path) -> None:
    folder = tmp_path / "a\x1b[31m"
    folder.mkdir()
    path = rich().write_to(folder / "b\n\u202e.qcow2")
    shown = drawn(path, Paper())
    assert "\x1b" not in shown
    assert "\u202e" not in shown
