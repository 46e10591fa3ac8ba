"""Refcounts as words: the bits that change are those that packing the whole block would change."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qcow2_dump.ondisk import arrays
from qcow2_dump.planners.refcounts.packed import changed_words
from qcow2_dump.planners.refcounts.targets import Stretch

ORDERS = range(7)


def stretch(order: int, stored: list[int], targets: dict[int, int], first: int = 0) -> Stretch:
    """Refcounts of which some are to be others, and some differ but stay as they are."""
    values = np.array(stored, dtype=np.uint64)
    at = np.array(sorted(targets), dtype=np.int64)
    target = np.array([targets[place] for place in at.tolist()], dtype=np.uint64)
    return Stretch(first, values, at, values[at], target, target)


@st.composite
def stretches(draw: st.DrawFn) -> tuple[int, Stretch]:
    order = draw(st.sampled_from(ORDERS))
    most = (1 << (1 << order)) - 1
    refcounts = st.sampled_from(sorted({0, 1, most // 2, most}))
    length = 256
    stored = draw(st.lists(refcounts, min_size=length, max_size=length))
    places = draw(st.sets(st.integers(0, length - 1), max_size=length // 4))
    targets = {place: draw(refcounts) for place in places}
    return order, stretch(order, stored, targets, first=1 << 20)


@settings(max_examples=200, deadline=None)
@given(stretches())
def test_words_make_the_block_what_packing_it_makes(case: tuple[int, Stretch]) -> None:
    order, piece = case
    words = changed_words(piece, piece.target != piece.held, 1 << order)
    block = arrays.decode_u64(arrays.pack_refcounts(piece.stored, order))
    wanted = arrays.decode_u64(arrays.pack_refcounts(piece.with_targets(piece.target), order))
    for first in range(0, 256, 64):
        few = words.of(piece.part(piece.first + first, piece.first + first + 64))
        assert few is not None
        start = first << order >> 6
        part = block[start : start + few.length]
        assert (few.new & ~few.mask == 0).all()
        assert ((part[few.at] ^ few.new) & few.mask == few.mask).all(), "each of these bits changes"
        part[few.at] ^= few.mask
    assert block.tolist() == wanted.tolist()


@pytest.mark.parametrize("order", ORDERS)
def test_only_the_chosen_ones_are_changed(order: int) -> None:
    piece = stretch(order, [0, 1] * 32, {2: 1, 3: 0, 40: 1})
    words = changed_words(piece, piece.target > piece.held, 1 << order).of(piece)
    assert words is not None
    changed = np.zeros(words.length, dtype=np.uint64)
    changed[words.at] = words.mask
    flipped = arrays.unpack_refcounts(arrays.encode_u64(changed), order)
    assert np.flatnonzero(flipped).tolist() == [2, 40]


def test_many_refcounts_are_packed_together() -> None:
    piece = stretch(4, [0] * 64, dict.fromkeys(range(17), 1))
    assert changed_words(piece, piece.target > piece.held, 16).of(piece) is None
    few = stretch(4, [0] * 64, dict.fromkeys(range(16), 1))
    assert changed_words(few, few.target > few.held, 16).of(few) is not None


def test_a_block_that_ends_within_a_word_is_packed_as_a_whole() -> None:
    piece = stretch(4, [0] * 67, {0: 1, 66: 1})
    words = changed_words(piece, piece.target > piece.held, 16)
    assert words.of(piece) is None
    assert words.of(piece.part(0, 64)) is not None
    assert words.of(piece.part(64, 67)) is None
