"""Runs summed up together, compared with adding them cluster by cluster."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qcow2_dump.checks import pending_runs
from qcow2_dump.checks.pending_runs import PendingRuns

SIZE = 200

places = st.integers(0, SIZE)
runs = st.tuples(places, places, st.integers(1, 300), st.integers(1, 300)).filter(
    lambda run: run[0] < run[1]
)


def summed(made: list[tuple[int, int, int, int]], bits: int = 8) -> dict[str, list[int]]:
    """The sums of some runs at all clusters, in small pieces."""
    pending = PendingRuns(bits, room=10)
    for run in made:
        pending.add(*(np.array([number], dtype=np.int64) for number in run))
    found = {"claims": [0] * SIZE, "weights": [0] * SIZE, "owns": [0] * SIZE}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pending_runs, "_PIECE_BITS", 4)
        for piece in pending.take(SIZE):
            length = len(piece.claims)
            assert length == min(16, SIZE - piece.first)
            for name, sums in found.items():
                values = np.broadcast_to(getattr(piece, name), length).tolist()
                sums[piece.first : piece.first + length] = values
    assert not pending
    assert not list(pending.take(SIZE))
    return found


def added_up(made: list[tuple[int, int, int, int]], bits: int) -> dict[str, list[int]]:
    found = {"claims": [0] * SIZE, "weights": [0] * SIZE, "owns": [0] * SIZE}
    for first, end, weight, own in made:
        for cluster in range(first, end):
            for name, number in (("claims", 1), ("weights", weight), ("owns", own)):
                found[name][cluster] = (found[name][cluster] + number) % 2**bits
    return found


@given(st.lists(runs, max_size=12), st.sampled_from([8, 16, 64]))
def test_runs_of_different_weights(made: list[tuple[int, int, int, int]], bits: int) -> None:
    found, expected = summed(made, bits), added_up(made, bits)
    assert found["claims"] == expected["claims"]
    assert found["weights"] == expected["weights"]
    claimed = [at for at in range(SIZE) if expected["claims"][at] == 1]
    assert [found["owns"][at] for at in claimed] == [expected["owns"][at] for at in claimed]


@given(st.lists(st.tuples(places, places).filter(lambda run: run[0] < run[1]), max_size=12))
def test_runs_that_all_weigh_the_same(made: list[tuple[int, int]]) -> None:
    weighed = [(first, end, 3, 2) for first, end in made]
    found, expected = summed(weighed), added_up(weighed, 8)
    assert found["claims"] == expected["claims"]
    assert found["weights"] == expected["weights"]


@given(st.lists(places, max_size=20, unique=True), st.booleans())
def test_runs_without_a_cluster_in_common(bounds: list[int], same: bool) -> None:
    """Every cluster between two bounds that follow each other belongs to a run of its own."""
    bounds.sort()
    made = [
        (first, end, 7 if same else at + 1, 7 if same else at + 1)
        for at, (first, end) in enumerate(itertools.pairwise(bounds))
        if at % 3
    ]
    found, expected = summed(made[::-1]), added_up(made, 8)
    assert found["claims"] == expected["claims"]
    assert found["weights"] == expected["weights"]


def test_as_many_runs_as_there_is_room_for() -> None:
    pending = PendingRuns(8, room=3)
    two = np.array([1, 2], dtype=np.int64)
    pending.add(two, two + 1, two, two)
    assert pending
    assert not pending.is_full
    pending.add(two, two + 1, two, two)
    assert pending.is_full
    assert list(pending.take(SIZE))
    assert not pending.is_full
