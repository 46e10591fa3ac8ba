"""The image as it would be, held against plain bytes."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qcow2_dump.errors import SourceError
from qcow2_dump.plan.model import Plan
from qcow2_dump.plan.overlay import OverlaySource
from qcow2_dump.plan.spool import Blob, Spool
from qcow2_dump.storage.base import ByteSource
from qcow2_dump.storage.memory import MemorySource
from tests.plan.disk import cut, put, result_of
from tests.plan.plans import images_and_plans
from tests.storage.contract import SourceContract

BLOCK = 256
Change = tuple[int, bytes] | int

CHANGES = st.lists(
    st.one_of(
        st.integers(0, 5000),
        st.tuples(
            st.integers(0, 4000),
            st.builds(
                lambda unit, length: (unit * length)[:length],
                st.sampled_from([b"\0", b"\1\2", b"z", bytes(70) + b"y"]),
                st.integers(0, 900),
            ),
        ),
    ),
    max_size=12,
)


class Holes(MemorySource):
    """Bytes of which blocks of zeros are holes."""

    def data_ranges(self, start: int, end: int) -> Iterator[tuple[int, int]]:
        end = min(end, self.size)
        for low in range(start // BLOCK * BLOCK, end, BLOCK):
            if start < end and any(self.read(low, BLOCK)):
                yield max(low, start), min(low + BLOCK, end)


def changed(content: bytes, changes: list[Change]) -> tuple[OverlaySource, bytearray]:
    """An overlay and plain bytes with the same changes."""
    overlay, plain, spool = OverlaySource(Holes(content)), bytearray(content), Spool()
    for change in changes:
        if isinstance(change, int):
            overlay.resize(change)
            cut(plain, change)
        elif change[1]:
            offset, data = change
            old = overlay.read(offset, len(data))
            overlay.put(offset, spool.put_change(old, data)[1])
            put(plain, offset, data)
        else:
            # A few words of what is there, wherever that came from.
            offset = change[0]
            old = overlay.read(offset, max(0, min(512, overlay.size - offset) // 8 * 8))
            data = bytes(byte ^ 0x55 if at % 200 == 9 else byte for at, byte in enumerate(old))
            overlay.put(offset, spool.put_change(old, data)[1])
            put(plain, offset if data else 0, data)
    return overlay, plain


CONTENTS = st.lists(st.sampled_from([bytes(BLOCK), b"k" * BLOCK, b"m" * 100]), max_size=12).map(
    b"".join
)


@settings(max_examples=150)
@given(CONTENTS, CHANGES, st.integers(0, 5000), st.integers(0, 2000))
def test_it_reads_like_plain_bytes(
    content: bytes, changes: list[Change], offset: int, length: int
) -> None:
    overlay, plain = changed(content, changes)
    assert overlay.size == len(plain)
    assert overlay.read(0, len(plain) + 50) == bytes(plain) + bytes(50)
    wanted = bytes(plain[offset : offset + length])
    assert overlay.read(offset, length) == wanted.ljust(length, b"\0")
    buffer = bytearray(b"\xee" * length)
    assert overlay.read_at(offset, memoryview(buffer)) == len(wanted)
    assert buffer == wanted + b"\xee" * (length - len(wanted))


@settings(max_examples=150)
@given(CONTENTS, CHANGES, st.integers(0, 5000), st.integers(0, 6000))
def test_its_data_ranges_are_in_order_and_leave_only_zeros_out(
    content: bytes, changes: list[Change], start: int, end: int
) -> None:
    overlay, plain = changed(content, changes)
    at = start
    for low, high in overlay.data_ranges(start, end):
        assert at <= low < high <= min(end, len(plain))
        assert not any(plain[at:low])
        at = high
    assert not any(plain[at:end])


@settings(max_examples=60)
@given(images_and_plans())
def test_it_shows_what_a_plan_makes_and_its_inverse_takes_back(case: tuple[bytes, Plan]) -> None:
    content, plan = case
    wanted = result_of(plan, content)
    after = OverlaySource(MemorySource(content), plan)
    assert after.read(0, after.size) == wanted
    back = plan.inverse("back", "undo")
    before = OverlaySource(MemorySource(wanted), back)
    assert before.read(0, before.size) == content
    assert result_of(back.inverse("on", "redo"), content) == wanted


def test_the_source_below_is_left_alone() -> None:
    content = bytearray(b"x" * 100)
    overlay = OverlaySource(MemorySource(content))
    overlay.put(10, Spool().put(b"new"))
    overlay.resize(50)
    assert content == b"x" * 100


def test_what_was_cut_off_does_not_come_back() -> None:
    overlay = OverlaySource(MemorySource(b"x" * 100))
    overlay.put(40, Blob.zeros(20))
    overlay.resize(50)
    overlay.resize(100)
    assert overlay.read(0, 100) == b"x" * 40 + bytes(60)
    assert list(overlay.data_ranges(0, 100)) == [(0, 50)]


class TestContract(SourceContract):
    """It is a source like any other, except that it belongs to one plan."""

    def test_once_more_it_is_the_same(self, source: ByteSource) -> None:
        with source, pytest.raises(SourceError, match="a second time"):
            source.again()

    def make(self, content: bytes, tmp_path: Path) -> ByteSource:
        spool, below = Spool(), bytearray(content)
        tail = content[-2:]
        below[700:900] = b"?" * 200
        overlay = OverlaySource(MemorySource(bytes(below) + b"more"))
        overlay.put(600, spool.put(content[600:1000]))
        overlay.resize(len(content) - len(tail))
        overlay.put(len(content) - len(tail), spool.put(tail))
        return overlay
