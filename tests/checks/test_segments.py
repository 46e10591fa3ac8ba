"""Overlapping stretches cut into disjoint ones, compared with asking at every byte."""

import itertools

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from qcow2_dump.checks.tables.segments import segments_of

intervals = st.lists(
    st.builds(
        lambda start, length: (start, start + length), st.integers(0, 60), st.integers(1, 30)
    ),
    max_size=12,
)


@given(intervals)
def test_every_place_has_its_owners(made: list[tuple[int, int]]) -> None:
    segments = segments_of(made)
    covered = {}
    for start, end, weight, owner in zip(
        segments.start.tolist(),
        segments.end.tolist(),
        segments.weight.tolist(),
        segments.owner.tolist(),
        strict=True,
    ):
        assert start < end
        for place in range(start, end):
            assert place not in covered
            covered[place] = (weight, owner)
    for place in range(100):
        owners = [i for i, (start, end) in enumerate(made) if start <= place < end]
        assert covered.get(place) == ((len(owners), owners[0]) if owners else None)


@given(intervals)
def test_runs_are_what_is_covered_without_a_gap(made: list[tuple[int, int]]) -> None:
    runs = segments_of(made).runs()
    covered = {place for start, end in made for place in range(start, end)}
    assert {place for start, end in runs for place in range(start, end)} == covered
    assert all(one[1] < other[0] for one, other in itertools.pairwise(runs))


@given(intervals.filter(bool))
def test_the_segment_of_a_place(made: list[tuple[int, int]]) -> None:
    segments = segments_of(made)
    places = np.array(sorted({p for start, end in made for p in range(start, end)}), dtype=np.int64)
    at = segments.at(places)
    assert (segments.start[at] <= places).all()
    assert (places < segments.end[at]).all()


def test_no_intervals() -> None:
    segments = segments_of([])
    assert len(segments) == 0
    assert segments.runs() == []


def test_offsets_near_the_end_of_what_can_be() -> None:
    far = 2**63 - 1
    segments = segments_of([(far - 20, far), (far - 10, far - 5)])
    assert segments.start.tolist() == [far - 20, far - 10, far - 5]
    assert segments.weight.tolist() == [1, 2, 1]
