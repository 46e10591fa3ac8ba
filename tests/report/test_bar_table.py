"""What of a table is shown where there is little room."""

from __future__ import annotations

import pytest

from qcow2_dump.report.bar_table import Column, laid_out
from qcow2_dump.report.paper import Paper

COLUMNS = (
    Column("least", ["12345678"], goes=1),
    Column("kept", ["12345678"]),
    Column("less", ["12345678"], goes=2),
)


@pytest.mark.parametrize(
    ("columns", "shown", "has_bar"),
    [
        (100, ["least", "kept", "less"], True),
        (46, ["kept", "less"], True),
        (35, ["kept"], True),
        (28, ["kept"], True),
        (26, ["kept"], False),
    ],
)
def test_numbers_go_before_the_bar_does(columns: int, shown: list[str], has_bar: bool) -> None:
    layout = laid_out(Paper(columns), (8, 12), COLUMNS)
    assert layout is not None
    assert [column.heading for column in layout.columns] == shown
    assert layout.left_out == tuple(c.heading for c in COLUMNS if c.heading not in shown)
    assert (layout.bar > 0) == has_bar
    assert len(layout.line("name", 0)) + 2 + layout.bar <= max(columns, 24)


def test_a_name_is_cut_so_that_the_bar_keeps_a_usual_length() -> None:
    layout = laid_out(Paper(60), (16, 90), COLUMNS[1:2])
    assert layout is not None
    assert (layout.name, layout.bar) == (36, 10)


def test_where_nothing_fits_there_is_no_table() -> None:
    assert laid_out(Paper(19), (8, 12), COLUMNS) is None


def test_endless_paper_shows_it_all() -> None:
    layout = laid_out(Paper(20, endless=True), (8, 300), COLUMNS)
    assert layout is not None
    assert (layout.name, layout.columns, layout.bar) == (300, COLUMNS, 10)


def test_headings_of_two_lines_stand_at_the_bottom() -> None:
    layout = laid_out(Paper(80), (4, 4), (Column("freed if\ndeleted", ["1"]), Column("b", ["2"])))
    assert layout is not None
    assert layout.headings("name") == ["        freed if", "  name   deleted  b"]
