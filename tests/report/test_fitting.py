"""Text made to fit columns of a terminal."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qcow2_dump.report.fitting import end_within, longest_within, padded, width, wrapped

TEXT = st.text("ab é日本e\u0301😀", max_size=40)


@pytest.mark.parametrize(
    ("text", "columns"),
    [("", 0), ("plain", 5), ("é", 1), ("日本", 4), ("e\u0301", 1), ("ﾊﾝｶｸ", 4), ("😀", 2)],
)
def test_width_is_that_of_a_terminal(text: str, columns: int) -> None:
    assert width(text) == columns


def test_padding_counts_columns() -> None:
    assert padded("日本", 6) == "日本  "
    assert padded("日本", 6, right=True) == "  日本"
    assert padded("long", 2) == "long"


def test_the_end_of_a_path_is_what_tells_it_from_others() -> None:
    assert end_within("/images/disk.qcow2", 11) == "…disk.qcow2"
    assert end_within("/images/disk.qcow2", 18) == "/images/disk.qcow2"
    assert end_within("日本語", 4) == "…語"
    assert end_within("abcdef", 5, "...") == "...ef"


@given(TEXT, st.integers(1, 30))
def test_the_longest_that_fits_is_shown(text: str, columns: int) -> None:
    def made(most: int) -> str:
        return text if len(text) <= most else text[:most] + "~"

    shown = longest_within(columns, made, 40)
    assert width(shown) <= columns
    if shown != text:
        longer = made(len(shown))
        assert longer == text or width(longer) > columns


@given(TEXT, st.integers(4, 30))
def test_wrapping_loses_nothing_and_stays_inside(text: str, columns: int) -> None:
    lines = list(wrapped(text, columns, "- ", "  "))
    assert max(map(width, lines)) <= columns
    assert lines[0].startswith("- ")
    told = "".join(line[2:] for line in lines)
    assert told.replace(" ", "") == text.replace(" ", "")


def test_words_that_are_given_one_by_one_stay_whole() -> None:
    assert list(wrapped(["of the day,", "of the night"], 14, "", " ")) == [
        "of the day,",
        " of the night",
    ]
