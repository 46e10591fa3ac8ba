"""Lines made for whole arrays equal lines made one by one."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from qcow2_dump.report.columns import Decimal, Hexadecimal, Words, rendered

WORDS = ("", "ab", "grün")
NUMBERS = st.one_of(st.integers(0, 20), st.integers(0, 2**64 - 1))
ROWS = st.lists(st.tuples(NUMBERS, st.booleans(), st.integers(0, 2)), min_size=1, max_size=40)


@given(ROWS, st.integers(1, 9), st.integers(1, 16))
def test_every_kind_of_piece(rows: list[tuple[int, bool, int]], width: int, digits: int) -> None:
    values = np.array([value for value, _, _ in rows], dtype=np.uint64)
    where = np.array([shown for _, shown, _ in rows])
    codes = np.array([code for _, _, code in rows], dtype=np.uint8)
    text = "".join(
        rendered(
            len(rows),
            b"<",
            Decimal(values, width),
            b"|",
            Decimal(values, where=where),
            b"|",
            Hexadecimal(values, digits),
            b"|",
            Hexadecimal(values, where=where),
            b"|",
            Words(codes, tuple(word.encode() for word in WORDS)),
            b">\n",
        )
    )
    assert text == "".join(
        f"<{value:{width}d}|{value if shown else ''}|{value:0{digits}x}|"
        f"{f'{value:x}' if shown else ''}|{WORDS[code]}>\n"
        for value, shown, code in rows
    )


def test_more_lines_than_are_made_at_once() -> None:
    numbers = np.arange(10_000, dtype=np.int64)
    text = "".join(rendered(len(numbers), Decimal(numbers, 4), b" ", Hexadecimal(numbers), b"\n"))
    assert text == "".join(f"{n:4d} {n:x}\n" for n in range(10_000))


def test_no_lines() -> None:
    assert list(rendered(0, b"x", Decimal(np.zeros(0, dtype=np.int64)))) == []
