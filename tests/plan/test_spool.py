"""Bytes put aside: whole, or as the words that change in their place."""

import errno
import os
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qcow2_dump.errors import SourceError
from qcow2_dump.plan import spool as spool_module
from qcow2_dump.plan.patches import WordChanges
from qcow2_dump.plan.spool import Blob, Spool
from qcow2_dump.plan.undo_files import telling

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
    st.lists(st.lists(st.integers(0, LENGTH - 1), max_size=90), min_size=1, max_size=14),
    st.data(),
)
def test_a_change_is_read_as_it_was_put(
    first: bytes, versions: list[list[int]], data: st.DataObject
) -> None:
    """Each over the one before, read and cut anywhere; all of them over the first, likewise."""
    spool = Spool()
    held, all_of_them = first, spool.put(first)
    for places in versions:
        new = changed(held, places)
        before, after = spool.put_change(held, new)
        assert before.length == after.length == len(new)
        assert before.in_place == after.in_place
        assert (bytes(before.over(held)), bytes(after.over(held))) == (held, new)
        assert bytes(before.over(new)) == held
        assert before.is_held(held)
        assert after.is_held(new)
        all_of_them = all_of_them.under(after) if after.in_place else after
        start = data.draw(st.integers(0, len(new)))
        length = data.draw(st.integers(0, len(new) - start))
        within = data.draw(st.integers(0, length))
        for whole, below in ((after, held), (all_of_them, held)):
            part, there = whole.cut(start, length), below[start : start + length]
            assert bytes(part.over(there)) == new[start : start + length]
            end = part.cut(within, length - within)
            assert bytes(end.over(there[within:])) == bytes(part.over(there[within:], within))
            filled = bytearray(b"\xee" + there[within:] + b"\xee")
            part.lay_over(within, memoryview(filled)[1:-1])
            assert filled == b"\xee" + new[start + within : start + length] + b"\xee"
        assert all_of_them.read() == new
        held = new
    spool.close()


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, LENGTH - 1), min_size=1, max_size=60), st.integers(0, LENGTH - 1))
def test_bytes_in_place_know_what_they_were_made_for(places: list[int], at: int) -> None:
    """Whatever byte differs is seen; that of a word that changes also without a checksum."""
    spool = Spool()
    old = os.urandom(LENGTH)
    new = changed(old, places)
    before, after = spool.put_change(old, new)
    other = changed(old, [at])
    assert not before.is_held(other)
    assert not after.is_held(changed(new, [at]))
    word = at // 8 * 8
    in_words = old[word : word + 8] != new[word : word + 8]
    if before.in_place:
        assert before.cut(0, LENGTH - 8).checksum is None
        held = bytearray(old)
        assert after.swap_into(held)
        assert held == new
        for blob, there, wanted in (
            (after, other, changed(new, [at])),
            (before, changed(new, [at]), other),
        ):
            held = bytearray(there)
            assert blob.swap_into(held) is not in_words
            assert held == (there if in_words else wanted)


def test_a_few_words_take_little_room() -> None:
    spool = Spool()
    old = os.urandom(1 << 16)
    new = changed(old, [0, 1, 30_000, 65_535])
    before, after = spool.put_change(old, new)
    assert after.in_place
    numbers, was, will = WordChanges.unpack(after.packed_words()[1])
    assert numbers.tolist() == WordChanges.between(old, new).at.tolist() == [0, 3750, 8191]
    words = [np.frombuffer(data, "<u8")[numbers].tolist() for data in (old, new)]
    assert [was.tolist(), will.tolist()] == words
    numbers, was, will = WordChanges.unpack(before.packed_words()[1])
    assert [will.tolist(), was.tolist()] == words
    assert before.packed_words()[0] == after.packed_words()[0] == 3
    assert spool.put(b"behind").position == 3 * (4 + 8 + 8)
    with pytest.raises(ValueError, match="only some"):
        after.read()


def test_words_that_do_not_differ_may_be_among_them() -> None:
    spool = Spool()
    old = os.urandom(LENGTH)
    new = changed(old, [80])
    before, after = spool.put_change(old, new, WordChanges.of(np.array([9, 10, 11]), old, new))
    assert after.packed_words()[0] == 3
    assert (bytes(before.over(new)), bytes(after.over(old))) == (old, new)


@pytest.mark.parametrize(
    ("length", "differing", "in_place"),
    [
        (4096, 128, True),
        (4096, 129, False),
        (4096, 0, False),
        (4088, 1, False),
        (4097, 1, False),
        (2 << 20, 1, True),
        ((2 << 20) + 8, 1, False),
    ],
)
def test_what_is_kept_whole(
    monkeypatch: pytest.MonkeyPatch, length: int, differing: int, in_place: bool
) -> None:
    """What is short, too long, not whole words or differs much."""
    monkeypatch.setattr(spool_module, "_SHORTEST_IN_PLACE", 4096)
    spool = Spool()
    old = os.urandom(length)
    new = changed(old, [8 * word for word in range(differing)])
    before, after = spool.put_change(old, new)
    assert before.in_place is after.in_place is in_place
    if not in_place:
        assert (before.read(), after.read()) == (old, new)
        assert before.checksum is None


def test_what_lies_over_zeros_is_not_zeros() -> None:
    spool = Spool()
    zeros = Blob.zeros(4096)
    _, after = spool.put_change(bytes(4096), changed(bytes(4096), [9]))
    over = zeros.under(after)
    assert zeros.is_zeros
    assert not after.is_zeros
    assert not over.is_zeros
    assert over.read() == changed(bytes(4096), [9])
    assert spool.put(bytes(700)).is_zeros


def test_a_full_folder_of_temporary_files_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def full(*_arguments: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(spool_module, "_IN_MEMORY", 100)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    spool = Spool()
    monkeypatch.setattr(os, "pwrite", full)
    with pytest.raises(SourceError, match="a temporary file cannot be written there: No s") as info:
        spool.put(b"x" * 101)
    assert (info.value.errno, info.value.filename) == (errno.ENOSPC, str(tmp_path))
    # Whoever reads an undo file meanwhile does not blame it.
    with pytest.raises(SourceError) as info, telling("the undo file cannot be read", "undo"):
        spool.put(b"x" * 101)
    assert info.value.filename == str(tmp_path)


def test_what_no_longer_fits_the_memory_is_all_still_there(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(spool_module, "_IN_MEMORY", 1000)
    spool = Spool()
    parts = [os.urandom(300) for _ in range(10)]
    blobs = [spool.put(part) for part in parts]
    assert [blob.read() for blob in blobs] == parts
    assert blobs[4].cut(10, 20).read(5, 100) == parts[4][15:30]
    buffer = bytearray(100)
    for blob, part in zip(blobs, parts, strict=True):
        blob.lay_over(7, memoryview(buffer))
        assert buffer == part[7:107]
    spool.close()
