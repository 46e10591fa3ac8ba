"""Names from an image can neither rule a terminal nor lie about what they are."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qcow2_dump.image.shown_names import shown
from qcow2_dump.report.escape import one_line, plain, printable, quoted


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        (b"monday", "monday"),
        (b"\x1b[31mred", r"\x1b[31mred"),
        ("a\u202eb", r"a\u202eb"),
        ("zero\u200bwidth", r"zero\u200bwidth"),
        (b"two\nlines\r\t", r"two\nlines\r\t"),
        (b"\xff\xfe", r"\xff\xfe"),
        ("\udcff.qcow2", r"\xff.qcow2"),
        ("\ud800", r"\ud800"),
        ("grün €".encode(), "grün €"),
        ("\x9b0m", r"\x9b0m"),
        (rb"\x1b\xff", r"\\x1b\\xff"),
    ],
)
def test_printable(name: bytes | str, shown: str) -> None:
    assert printable(name) == shown


def test_a_long_name_ends_in_an_ellipsis() -> None:
    assert printable(b"x" * 100, 10) == "x" * 9 + "…"
    assert printable(b"x" * 10, 10) == "x" * 10


def test_quotes_inside_of_quotes() -> None:
    assert quoted(b'say "hi"') == r'"say \"hi\""'


def test_no_two_names_look_alike() -> None:
    names = (b"\x1b", rb"\x1b", b"\xff", rb"\xff", "\xff".encode(), b"\\", rb"\\")
    assert len({printable(name) for name in names}) == len(names)


def test_a_message_is_not_escaped_twice() -> None:
    message = f"the name {shown(b'a' + bytes([92, 0x1B, 0xFF]))} is bad"
    assert one_line(message) == r'the name "a\\\x1b\xff" is bad'


def test_plain_keeps_everything() -> None:
    assert plain(b"x" * 5000 + b"\x1b\xff") == "x" * 5000 + "\x1b\\xff"


@given(st.one_of(st.binary(), st.text(st.characters())))
def test_whatever_is_shown_is_printable_and_encodable(name: bytes | str) -> None:
    assert printable(name).isprintable()
    plain(name).encode("utf-8")
