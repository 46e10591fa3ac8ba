"""A set of cluster indices, compared with a set of integers."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qcow2_dump.checks.bitset import BitSet

SIZE = 1000
members = st.sets(st.integers(0, SIZE - 1), max_size=60)


def indices(values: object) -> np.ndarray:
    return np.array(sorted(values), dtype=np.int64)  # type: ignore[call-overload]


def made_of(values: set[int]) -> BitSet:
    found = BitSet(SIZE)
    found.add(indices(values))
    return found


@given(members, members)
def test_it_holds_what_was_added(first: set[int], second: set[int]) -> None:
    found = made_of(first)
    found.add(indices(second))
    held = first | second
    assert len(found) == len(held)
    assert bool(found) == bool(held)
    assert np.flatnonzero(found.contains(np.arange(SIZE))).tolist() == sorted(held)
    assert [i for chunk in found.chunks() for i in chunk.tolist()] == sorted(held)


@given(members, members, st.integers(0, SIZE))
def test_members_of_a_set_of_another_size(first: set[int], second: set[int], size: int) -> None:
    for into, of in ((SIZE, size), (size, SIZE)):
        found, other = BitSet(into), BitSet(of)
        found.add(indices(i for i in first if i < into))
        other.add(indices(i for i in second if i < of))
        found.update(other)
        held = {i for i in first if i < into} | {i for i in second if i < min(into, of)}
        assert np.flatnonzero(found.flags(0, into)).tolist() == sorted(held)


@given(members, members, st.integers(0, SIZE // 8), st.integers(0, SIZE // 8 + 9))
def test_members_of_a_range_of_another_set(
    first: set[int], second: set[int], at: int, end: int
) -> None:
    found, everything = made_of(first), (np.array([0]), np.array([SIZE]))
    assert found.count_between(*everything).tolist() == [len(first)]
    found.update_between(made_of(second), 8 * at, 8 * end)
    held = first | {i for i in second if 8 * at <= i < 8 * end}
    assert found.first(SIZE).tolist() == sorted(held)
    assert found.count_between(*everything).tolist() == [len(held)]


@given(members, st.integers(0, SIZE // 64), st.integers(0, SIZE // 64 + 2))
def test_chunks_of_a_range(values: set[int], at: int, end: int) -> None:
    found = [i for chunk in made_of(values).chunks(64 * at, 64 * end) for i in chunk.tolist()]
    assert found == [i for i in sorted(values) if 64 * at <= i < 64 * end]


@given(members, st.integers(0, 70))
def test_the_smallest_members(values: set[int], limit: int) -> None:
    assert made_of(values).first(limit).tolist() == sorted(values)[:limit]


@given(members, st.integers(0, SIZE), st.integers(0, SIZE))
def test_flags_of_a_range(values: set[int], first: int, end: int) -> None:
    first, end = sorted((first, end))
    assert made_of(values).flags(first, end).tolist() == [i in values for i in range(first, end)]


@given(st.integers(0, SIZE // 8), st.lists(st.booleans(), max_size=80))
def test_flags_are_stored_over_what_was_there(at: int, flags: list[bool]) -> None:
    found = made_of(set(range(SIZE)))
    found.store(8 * at, np.array(flags, dtype=np.bool_))
    stored = flags[: SIZE - 8 * at]
    # A last, incomplete byte is cleared as a whole.
    behind = min(SIZE, 8 * at + -(-len(stored) // 8) * 8)
    expected = [True] * (8 * at) + stored + [False] * (behind - 8 * at - len(stored))
    expected += [True] * (SIZE - behind)
    assert found.contains(np.arange(SIZE)).tolist() == expected


@given(members, st.integers(0, SIZE // 8), st.lists(st.booleans(), max_size=80))
def test_flags_that_are_set_join_what_was_there(
    values: set[int], at: int, flags: list[bool]
) -> None:
    found = made_of(values)
    flags = flags[: SIZE - 8 * at]
    found.include(8 * at, np.array(flags, dtype=np.bool_))
    held = values | {8 * at + i for i, flag in enumerate(flags) if flag}
    assert found.first(SIZE).tolist() == sorted(held)


@given(members, st.lists(st.tuples(st.integers(0, SIZE), st.integers(0, SIZE)), max_size=20))
def test_members_of_ranges_are_counted(values: set[int], made: list[tuple[int, int]]) -> None:
    found, ranges = made_of(values), [sorted(pair) for pair in made]
    first, end = (np.array([pair[at] for pair in ranges], dtype=np.int64) for at in (0, 1))
    expected = [sum(a <= i < b for i in values) for a, b in ranges]
    assert found.count_between(first, end).tolist() == expected
    more = values | {0, SIZE - 1}
    found.add(indices(more))
    expected = [sum(a <= i < b for i in more) for a, b in ranges]
    assert found.count_between(first, end).tolist() == expected


@given(members, members)
def test_members_in_common(first: set[int], second: set[int]) -> None:
    assert made_of(first).common_with(made_of(second)) == len(first & second)


@given(
    members, st.lists(st.integers(0, SIZE), min_size=2, max_size=20), st.sets(st.integers(0, 19))
)
def test_members_of_ranges_that_follow_each_other(
    values: set[int], edges: list[int], left_out: set[int]
) -> None:
    ordered = sorted(edges)
    ranges = [pair for at, pair in enumerate(pairwise(ordered)) if at not in left_out]
    first, end = (np.array([pair[at] for pair in ranges], dtype=np.int64) for at in (0, 1))
    expected = [sum(a <= i < b for i in values) for a, b in ranges]
    assert made_of(values).count_between(first, end).tolist() == expected


def test_added_twice_at_once() -> None:
    found = BitSet(16)
    found.add(np.array([3, 3, 5, 3], dtype=np.int64))
    assert len(found) == 2


@pytest.mark.parametrize("size", [0, 1, 7, 8, 9])
def test_small_sizes(size: int) -> None:
    found = BitSet(size)
    assert not found
    found.add(np.arange(size))
    assert len(found) == size
    assert found.first(100).tolist() == list(range(size))


def test_chunks_come_in_order_from_far_apart() -> None:
    far = [0, 8 * 65_536 - 1, 8 * 65_536, 5_000_000]
    found = BitSet(5_000_001)
    found.add(np.array(far[::-1], dtype=np.int64))
    chunks = list(found.chunks())
    assert np.concatenate(chunks).tolist() == far
    assert found.first(2).tolist() == far[:2]
    assert found.first(0).tolist() == []
