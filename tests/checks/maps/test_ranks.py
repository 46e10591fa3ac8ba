"""Places among numbers, compared with counting."""

import bisect

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qcow2_dump.checks.maps import ranks
from qcow2_dump.checks.maps.ranks import Ranks


@pytest.mark.parametrize("dense", [0, 1024])
@given(st.sets(st.integers(0, 2000), min_size=1), st.lists(st.integers(0, 2000)))
def test_ranks_are_those_of_a_search(dense: int, numbers: set[int], asked: list[int]) -> None:
    ordered = sorted(numbers)
    asked = [number for number in asked if number <= ordered[-1]] + ordered
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ranks, "_DENSE", dense)
        parts = [ordered[: len(ordered) // 2], ordered[len(ordered) // 2 :]]
        made = Ranks([np.array(part, dtype=np.int64) for part in parts if part])
        found = made.of(np.array(asked, dtype=np.int64))
    assert found.tolist() == [bisect.bisect_right(ordered, number) for number in asked]
