"""Bytes put aside: whole, or as what they differ in from others."""

import os

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qcow2_dump.plan import spool as spool_module
from qcow2_dump.plan.spool import Blob, Spool, differing_words

LENGTH = 4096


def changed(data: bytes, places: list[int]) -> bytes:
    """The same bytes with others at some places."""
    held = bytearray(data)
    for place in places:
        held[place % len(held)] ^= 0xFF
    return bytes(held)


@settings(max_examples=100, deadline=None)
@given(
    st.sampled_from([bytes(LENGTH), os.urandom(LENGTH), bytes(LENGTH - 3)]),
    st.lists(st.lists(st.integers(0, LENGTH - 1), max_size=90), min_size=1, max_size=6),
    st.data(),
)
def test_what_differs_little_is_read_as_it_was_put(
    first: bytes, versions: list[list[int]], data: st.DataObject
) -> None:
    """Each over the one before, read and cut anywhere."""
    spool = Spool()
    held, blob = first, spool.put(first)
    for places in versions:
        new = changed(held, places)
        over = spool.put_over(blob, held, new)
        assert over.length == len(new)
        assert over.read() == new
        start = data.draw(st.integers(0, len(new)))
        length = data.draw(st.integers(0, len(new) - start))
        part = over.cut(start, length)
        within = data.draw(st.integers(0, length))
        assert part.read() == over.read(start, length) == new[start : start + length]
        assert part.read(within) == new[start + within : start + length]
        assert part.cut(within, length - within).read() == part.read(within)
        filled = bytearray(b"\xee" * (length - within + 2))
        part.read_into(within, memoryview(filled)[1:-1])
        assert filled == b"\xee" + part.read(within) + b"\xee"
        below = blob.cut(start, length)
        assert part.read_over(below, held[start : start + length]) == part.read()
        words = part.words_over(below)
        if words is not None:
            was, will = (np.frombuffer(part.read(), "<u8"), np.frombuffer(below.read(), "<u8"))
            assert set(np.flatnonzero(was != will)) <= set(words[0].tolist())
            assert words[1].tolist() == was[words[0]].tolist()
            packed = words[0].astype("<u4").tobytes() + words[1].tobytes()
            assert part.packed_over(below) == (len(words[0]), packed)
        else:
            assert part.packed_over(below) is None
        held, blob = new, over
    spool.close()


def test_a_few_words_take_little_room() -> None:
    spool = Spool()
    old = os.urandom(1 << 16)
    base = spool.put(old)
    new = changed(old, [0, 1, 30_000, 65_535])
    over = spool.put_over(base, old, new)
    assert over.patches[0].words == 3
    found = over.words_over(base)
    assert found is not None
    assert found[0].tolist() == differing_words(old, new).tolist() == [0, 3750, 8191]
    assert spool.put_over(base, old, old) is base
    assert spool.put_over(base, old, bytes(1 << 16)).is_zeros
    assert over.words_over(spool.put(old)) is None


def test_what_differs_much_or_often_is_kept_whole() -> None:
    spool = Spool()
    old = os.urandom(4096)
    base = spool.put(old)
    other = os.urandom(4096)
    assert spool.put_over(base, old, other).patches == ()
    held, blob = old, base
    for number in range(20):
        new = changed(held, [8 * number])
        blob, held = spool.put_over(blob, held, new), new
        assert len(blob.patches) <= 4
        assert blob.read() == new


def test_what_is_short_is_kept_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spool_module, "_SHORTEST_PATCHED", 4096)
    spool = Spool()
    for length, patches in ((4088, 0), (4096, 1)):
        old = os.urandom(length)
        new = changed(old, [80])
        base = spool.put(old)
        at = np.array([10])
        words = np.frombuffer(new, "<u8")[at]
        for over in (
            spool.put_over(base, old, new),
            spool.put_words(base, at, words),
            spool.put_words(base, at, words, old),
        ):
            assert len(over.patches) == patches
            assert over.read() == new


def test_what_lies_over_zeros_is_not_zeros() -> None:
    spool = Spool()
    zeros = Blob.zeros(4096)
    over = spool.put_over(zeros, bytes(4096), changed(bytes(4096), [9]))
    assert zeros.is_zeros
    assert not over.is_zeros
    assert over.read() == changed(bytes(4096), [9])


def test_what_no_longer_fits_the_memory_is_all_still_there(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(spool_module, "_IN_MEMORY", 1000)
    spool = Spool()
    parts = [os.urandom(300) for _ in range(10)]
    blobs = [spool.put(part) for part in parts]
    assert [blob.read() for blob in blobs] == parts
    assert blobs[4].cut(10, 20).read(5, 100) == parts[4][15:30]
    spool.close()
