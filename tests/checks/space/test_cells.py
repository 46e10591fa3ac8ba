"""Cells of any number, compared with counting unit by unit."""

import itertools

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from qcow2_dump.checks.space.cells import Cells

KINDS = 4


def i64(values: list[int]) -> np.ndarray:
    return np.array(values, dtype=np.int64)


@settings(max_examples=200)
@given(
    st.lists(st.integers(0, KINDS - 1), max_size=60),
    st.integers(0, 20),
    st.lists(st.integers(0, 60), max_size=4),
    st.lists(st.tuples(st.integers(-3, 70), st.integers(0, 10)), max_size=3),
)
def test_cells_hold_what_counting_finds(
    kinds: list[int], number: int, cuts: list[int], damage: list[tuple[int, int]]
) -> None:
    cells = Cells(len(kinds), number, KINDS)
    assert len(cells) == min(number, len(kinds))
    bounds = sorted({0, len(kinds), *(cut for cut in cuts if cut < len(kinds))})
    for start, end in itertools.pairwise(bounds):
        units = np.arange(start, end, dtype=np.int64)
        cells.add(units, units + 1, i64(kinds[start:end]))
    cells.mark(i64([a for a, _ in damage]), i64([a + n for a, n in damage]))
    hurt = {unit for a, n in damage for unit in range(a, a + n)}
    sizes = np.diff(cells.bounds)
    assert not len(sizes) or (sizes.min() >= 1 and sizes.max() - sizes.min() <= 1)
    for i in range(len(cells)):
        start, end = int(cells.bounds[i]), int(cells.bounds[i + 1])
        assert cells.shares[i].tolist() == [kinds[start:end].count(k) for k in range(KINDS)]
        assert bool(cells.damaged[i]) == any(unit in hurt for unit in range(start, end))


def test_ranges_may_leave_gaps_and_pass_the_end() -> None:
    cells = Cells(100, 3, 2)
    cells.add(i64([10, 40]), i64([20, 1000]), i64([1, 0]))
    cells.add(i64([200]), i64([300]), i64([1]))
    assert cells.bounds.tolist() == [0, 33, 66, 100]
    assert cells.shares.tolist() == [[0, 10], [26, 0], [34, 0]]


def test_a_length_near_the_end_of_64_bits() -> None:
    cells = Cells((1 << 63) - 1, 1000, 1)
    cells.add(i64([0]), i64([(1 << 63) - 1]), i64([0]))
    assert int(cells.shares.sum(dtype=object)) == (1 << 63) - 1
