"""Byte ranges of leaked clusters, as undo files remember them."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from qcow2_dump.checks.bitset import BitSet
from qcow2_dump.checks.leaks.leftovers import clusters_within, merged_ranges

SIZE = 512
FURTHEST = 1 << 62

clusters = st.frozensets(st.integers(0, 400), max_size=60)
ranges = st.lists(st.tuples(st.integers(0, 300 * SIZE), st.integers(0, 300 * SIZE)), max_size=8)


def array(members: frozenset[int]) -> np.ndarray:
    return np.array(sorted(members), dtype=np.int64)


def bits(members: frozenset[int]) -> BitSet:
    held = BitSet(401)
    held.add(array(members))
    return held


def members(held: BitSet) -> set[int]:
    return {cluster for chunk in held.chunks() for cluster in chunk.tolist()}


@settings(max_examples=60, deadline=None)
@given(clusters, clusters)
def test_ranges_of_clusters_hold_these_and_no_others(
    kept: frozenset[int], leaking: frozenset[int]
) -> None:
    merged = merged_ranges(array(kept), SIZE, 1000)
    assert merged == tuple(sorted(merged))
    assert members(clusters_within(merged, SIZE, bits(leaking))) == kept & leaking


@settings(max_examples=60, deadline=None)
@given(clusters, st.integers(1, 5))
def test_too_many_ranges_end_with_a_wide_one(kept: frozenset[int], most: int) -> None:
    merged = merged_ranges(array(kept), SIZE, most)
    assert len(merged) <= most
    assert members(clusters_within(merged, SIZE, bits(kept))) == kept


@settings(max_examples=60, deadline=None)
@given(ranges, clusters)
def test_ranges_that_overlap_or_end_before_they_start_are_taken_as_they_are(
    made_up: list[tuple[int, int]], leaking: frozenset[int]
) -> None:
    found = members(clusters_within(tuple(made_up), SIZE, bits(leaking)))
    assert found == {
        cluster
        for cluster in leaking
        if any(start // SIZE <= cluster < end // SIZE for start, end in made_up)
    }


def test_the_widest_range_there_can_be() -> None:
    assert members(clusters_within(((0, FURTHEST),), SIZE, bits(frozenset({0, 400})))) == {0, 400}
    assert members(clusters_within((), SIZE, bits(frozenset({3})))) == set()
