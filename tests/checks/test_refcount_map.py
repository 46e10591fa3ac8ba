"""Counting references by the million, compared with counting them in a dictionary."""

from collections import Counter
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qcow2_dump.checks.refcount_map import RefcountMap

SIZE = 600


def i64(values: list[int]) -> np.ndarray:
    return np.array(values, dtype=np.int64)


@dataclass(frozen=True)
class Claim:
    """One claim of some clusters, by one owner, of some weight."""

    clusters: tuple[int, ...]
    weight: int
    compressed: bool = False


@st.composite
def claims(draw: st.DrawFn) -> Claim:
    weight = draw(st.sampled_from([1, 1, 2, 3, 100, 255, 256, 70_000]))
    if draw(st.booleans()):
        first = draw(st.integers(0, SIZE - 1))
        clusters = range(first, draw(st.integers(first, SIZE)))
        return Claim(tuple(clusters), weight)
    several = draw(st.lists(st.integers(0, 40), max_size=30))
    return Claim(tuple(several), weight, draw(st.booleans()))


def count(found: RefcountMap, claim: Claim, way: int) -> None:
    """Count a claim in one of the ways that there are for it."""
    indices = i64(list(claim.clusters))
    weights = np.full(len(indices), claim.weight)
    is_range = (
        claim.clusters == tuple(range(indices[0], indices[-1] + 1)) if len(indices) else False
    )
    if claim.compressed:
        found.claim_compressed(indices, weights)
    elif is_range and way == 0:
        found.claim_runs(indices[:1], indices[-1:] + 1, weights[:1], weights[:1])
    elif is_range and way == 1 and found.counts is not None:
        # Whoever asks has the waiting runs counted.
        found.claim_runs(indices[:1], indices[-1:] + 1, weights[:1], weights[:1])
    elif way == 2:
        found.claim_each(indices, weights, weights)
    else:
        found.claim(indices, claim.weight, claim.weight)


@given(st.lists(st.tuples(claims(), st.integers(0, 3)), max_size=12))
def test_counts_and_owners(made: list[tuple[Claim, int]]) -> None:
    found = RefcountMap(SIZE, 32)
    counts, owners, streams = Counter[int](), Counter[int](), Counter[int]()
    for claim, way in made:
        count(found, claim, way)
        for cluster in claim.clusters:
            counts[cluster] += claim.weight
            (streams if claim.compressed else owners)[cluster] += 1
    assert found.counts.tolist() == [counts[i] for i in range(SIZE)]
    assert found.total == counts.total()
    assert not found.overflowed
    shared = {i for i in range(SIZE) if owners[i] > 1 or (owners[i] and streams[i])}
    assert set(found.shared.first(SIZE).tolist()) == shared


@given(
    st.lists(st.tuples(claims(), st.integers(0, 3)), max_size=12), st.integers(0, SIZE), st.data()
)
def test_a_window_holds_a_part_of_the_whole(
    made: list[tuple[Claim, int]], first: int, data: st.DataObject
) -> None:
    end = data.draw(st.integers(first, SIZE))
    whole, window = RefcountMap(SIZE, 32), RefcountMap(SIZE, 32, first=first, end=end)
    for claim, way in made:
        count(whole, claim, way)
        count(window, claim, way)
    assert window.counts.tolist() == whole.counts[first:end].tolist()
    assert not window.overflowed
    shared = set(whole.shared.first(SIZE).tolist()) & set(range(first, end))
    assert {first + at for at in window.shared.first(SIZE).tolist()} == shared
    assert window.last_claimed == whole.last_claimed == bool(whole.counts[-1])
    inside = np.arange(first, end)
    assert window.unused(inside).tolist() == (whole.counts[inside] == 0).tolist()
    assert window.several(inside).tolist() == (whole.counts[inside] > 1).tolist()


@given(st.lists(claims(), max_size=12))
def test_narrow_counters_tell_that_they_wrapped(made: list[Claim]) -> None:
    found = RefcountMap(SIZE, 8)
    counts = Counter[int]()
    for claim in made:
        count(found, claim, 3)
        for cluster in claim.clusters:
            counts[cluster] += claim.weight
    assert found.overflowed == (max(counts.values(), default=0) > 255)
    assert found.counts.tolist() == [counts[i] % 256 for i in range(SIZE)]


@pytest.mark.parametrize(("bits", "most"), [(8, 255), (16, 65_535), (32, 2**32 - 1)])
def test_where_counters_wrap(bits: int, most: int) -> None:
    found = RefcountMap(4, bits)
    found.claim(i64([2]), most, most)
    assert not found.overflowed
    assert found.counts.tolist() == [0, 0, most, 0]
    found.claim(i64([2]), 1, 1)
    assert found.overflowed
    assert found.counts.tolist() == [0, 0, 0, 0]


@pytest.mark.parametrize("times", [256, 65_536])
def test_as_many_owners_as_make_a_counter_start_anew(times: int) -> None:
    """The counter shows what one owner would leave; the sum tells that it wrapped."""
    found = RefcountMap(3, 8 if times == 256 else 16)
    found.claim(np.zeros(times, dtype=np.int64), 1, 1)
    found.claim(i64([0]), 1, 1)
    assert found.counts[0] == 1
    assert found.overflowed


def test_a_long_ascending_run_is_one_addition() -> None:
    found = RefcountMap(5000)
    found.claim(np.arange(100, 4900), 2, 2)
    found.claim(np.concatenate([np.arange(2000), np.arange(3000, 5000)]), 1, 1)
    expected = np.zeros(5000, dtype=int)
    expected[100:4900] += 2
    expected[:2000] += 1
    expected[3000:] += 1
    assert found.counts.tolist() == expected.tolist()
    assert len(found.shared) == 1900 + 1900


def test_ranges_short_and_long_together() -> None:
    first, end = i64([0, 1, 600, 5000]), i64([1, 3, 4000, 5001])
    found = RefcountMap(6000)
    found.claim_runs(first, end, i64([1, 2, 3, 1]), i64([1, 1, 1, 1]))
    counts = [0] * 6000
    for start, stop, weight in zip(first.tolist(), end.tolist(), [1, 2, 3, 1], strict=True):
        counts[start:stop] = [weight] * (stop - start)
    assert found.counts.tolist() == counts
    # One owner of each cluster was expected; a weight of several is several owners.
    assert set(found.shared.first(6000).tolist()) == {i for i, c in enumerate(counts) if c > 1}


def test_streams_share_with_streams_only() -> None:
    found = RefcountMap(4)
    found.claim_compressed(i64([0, 0, 1]), i64([1, 1, 5]))
    assert not found.shared
    found.claim(i64([2]), 1, 1)
    found.claim_compressed(i64([2]), i64([1]))
    found.claim(i64([1]), 1, 1)
    assert found.shared.first(9).tolist() == [1, 2]
    assert found.counts.tolist() == [2, 6, 2, 0]
