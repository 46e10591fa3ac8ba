"""Equal entries of the tables of one guest range are one claim; compared with saying so."""

from collections import defaultdict

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from qcow2_dump.checks.mapping.merge_claims import merge_claims

offsets = st.sampled_from([0, 0, 0x50000, 0x60000, 0x70000])


@st.composite
def stacks(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Tables of several groups, side by side, with the weights of each."""
    members, groups = draw(st.integers(1, 5)), draw(st.integers(1, 3))
    columns = draw(st.integers(1, 6))
    size = groups * columns
    rows = st.lists(offsets, min_size=size, max_size=size)
    entries = draw(st.lists(rows, min_size=members, max_size=members))
    weight = st.lists(st.integers(1, 9), min_size=groups, max_size=groups)
    weights = draw(st.lists(weight, min_size=members, max_size=members))
    owns = draw(st.lists(weight, min_size=members, max_size=members))
    return np.array(entries, dtype=np.uint64), np.array(weights), np.array(owns)


def naive(entries: np.ndarray, weights: np.ndarray, owns: np.ndarray) -> list[tuple[int, int, int]]:
    found = []
    columns = entries.shape[1] // weights.shape[1]
    for column in range(entries.shape[1]):
        merged: dict[int, list[int]] = defaultdict(lambda: [0, 0])
        for row in range(entries.shape[0]):
            group = column // columns
            merged[int(entries[row, column])][0] += int(weights[row, group])
            merged[int(entries[row, column])][1] += int(owns[row, group])
        found += [(offset, *sums) for offset, sums in merged.items() if offset]
    return sorted(found)


@given(stacks())
def test_it_says_what_a_loop_says(stack: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    merged = merge_claims(*stack)
    assert [array.dtype for array in merged] == [np.uint64, np.int64, np.int64]
    assert sorted(zip(*(array.tolist() for array in merged), strict=True)) == naive(*stack)


def test_snapshots_that_share_a_cluster_are_one_owner() -> None:
    entries = np.array([[0x50000, 0x60000], [0x50000, 0x70000]], dtype=np.uint64)
    weights = np.array([[1], [3]])
    merged = merge_claims(entries, weights, weights)
    assert sorted(zip(*(array.tolist() for array in merged), strict=True)) == [
        (0x50000, 4, 4),
        (0x60000, 1, 1),
        (0x70000, 3, 3),
    ]


def test_nothing_claims_nothing() -> None:
    merged = merge_claims(
        np.zeros((3, 4), dtype=np.uint64), np.ones((3, 1), int), np.ones((3, 1), int)
    )
    assert [len(array) for array in merged] == [0, 0, 0]
