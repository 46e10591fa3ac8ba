"""Who uses which cluster, by the million, compared with sets in a dictionary."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qcow2_dump.checks.space import users as room
from qcow2_dump.checks.space.use_map import UseMap
from qcow2_dump.checks.space.users import Use, Users, tree_bit, trees_in

SIZE = 700
MASKS = [tree_bit(i) | use for i in range(5) for use in (Use.DATA, Use.L2)] + [int(Use.HEADER)]

Claim = tuple[list[int], list[int]]


def i64(values: list[int]) -> np.ndarray:
    return np.array(values, dtype=np.int64)


@st.composite
def claims(draw: st.DrawFn) -> Claim:
    if draw(st.booleans()):
        first = draw(st.integers(0, SIZE))
        clusters = list(range(first, draw(st.integers(first, SIZE))))
        return clusters, [draw(st.sampled_from(MASKS))] * len(clusters)
    clusters = draw(st.lists(st.integers(0, 30), max_size=30))
    return clusters, draw(
        st.lists(st.sampled_from(MASKS), min_size=len(clusters), max_size=len(clusters))
    )


@settings(max_examples=60)
@given(st.lists(claims(), max_size=8))
def test_every_cluster_has_the_users_that_claimed_it(made: list[Claim]) -> None:
    users = Users(5)
    found = UseMap(SIZE, users)
    expected = [0] * SIZE
    for clusters, masks in made:
        if len(set(masks)) == 1 and clusters:
            found.claim(i64(clusters), users.code(masks[0]))
        else:
            found.claim_each(i64(clusters), users.codes(masks))
        for cluster, mask in zip(clusters, masks, strict=True):
            expected[cluster] |= mask
    assert [users.masks[code] for code in found.codes.tolist()] == expected


@given(st.lists(st.lists(st.sampled_from(MASKS), min_size=1, max_size=9), max_size=9))
def test_runs_are_joined(runs: list[list[int]]) -> None:
    users = Users(5)
    codes = users.codes(mask for run in runs for mask in run)
    starts = np.cumsum([0, *(len(run) for run in runs)])[:-1].astype(np.int64)
    joined = users.join_runs(codes, starts)
    expected = [int(np.bitwise_or.reduce(run)) for run in runs]
    assert [users.masks[code] for code in joined.tolist()] == expected


def test_more_combinations_than_a_byte_has_room_for() -> None:
    users = Users(400)
    found = UseMap(400, users)
    masks = [tree_bit(i) | Use.DATA for i in range(400)]
    found.claim_each(np.arange(400), users.codes(masks))
    assert found.codes.dtype == np.uint16
    assert [users.masks[code] for code in found.codes.tolist()] == masks
    found.claim_range(0, 1000, users.code(masks[7]))
    assert users.masks[int(found.codes[399])] == masks[399] | masks[7]


def test_too_many_combinations_become_a_crowd(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "_MOST_CODES", 64)
    monkeypatch.setattr(room, "_FEWEST_CODES", 64)
    users = Users(10)
    singles = [tree_bit(i) | Use.DATA for i in range(10)]
    for many in range(1 << 10):
        mask = sum(tree_bit(i) for i in range(10) if many >> i & 1)
        users.code(mask | Use.DATA)
    assert users.crowded
    assert all(users.masks[users.code(mask)] == mask for mask in singles)
    everybody = users.masks[users.code((1 << 10) * tree_bit(0) - tree_bit(0) | Use.DATA)]
    assert trees_in(everybody) == 1
    assert everybody & Use.CROWD
    assert everybody & Use.DATA
    assert len(users.masks) < 100
