"""Ascending indices as stretches."""

import itertools

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from qcow2_dump.checks.stretches import stretches


@settings(max_examples=60, deadline=None)
@given(st.frozensets(st.integers(0, 200), max_size=40), st.integers(1, 9))
def test_stretches_cover_indices_that_are_near_each_other(
    members: frozenset[int], reach: int
) -> None:
    starts, ends = stretches(np.array(sorted(members), dtype=np.int64), reach)
    pairs = list(zip(starts.tolist(), ends.tolist(), strict=True))
    assert all({start, end - 1} <= members for start, end in pairs)
    assert all(other[0] - one[1] >= reach for one, other in itertools.pairwise(pairs))
    covered = {index for start, end in pairs for index in range(start, end)}
    assert members <= covered
    if reach == 1:
        assert covered == members
