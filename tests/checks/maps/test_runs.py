"""Runs of classes: what coarser pictures keep, whatever they are made of."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from qcow2_dump.checks.maps import runs
from qcow2_dump.checks.maps.class_values import DAMAGED, DAMAGED_BIT
from qcow2_dump.checks.maps.runs import ClassRuns, RunCollector

_VALUES = st.lists(
    st.tuples(st.integers(1, 9), st.sampled_from([0, 1, 2, 14, 1 | DAMAGED])),
    min_size=1,
    max_size=60,
)


def _cells(made: ClassRuns, size: int) -> tuple[list[int], list[int]]:
    """Class and mask of each unit of the first cell size."""
    kinds = np.repeat(made.kind, made.length * made.cell_size)[:size]
    masks = np.repeat(made.mask, made.length * made.cell_size)[:size]
    return kinds.tolist(), masks.tolist()


def _expected_mask(values: NDArray[np.uint8]) -> int:
    mask = 0
    for value in values.tolist():
        mask |= 1 << (value & 15)
        mask |= (1 << DAMAGED_BIT) if value & DAMAGED else 0
    return mask


@pytest.mark.parametrize("together", [4, 1000])
@given(_VALUES, st.integers(0, 4))
@settings(max_examples=60)
def test_a_coarse_cell_knows_all_that_is_in_it(
    together: int, pieces: list[tuple[int, int]], shift: int
) -> None:
    length = np.array([piece[0] for piece in pieces], dtype=np.int64)
    values = np.array([piece[1] for piece in pieces], dtype=np.uint8)
    flat = np.repeat(values, length)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runs, "_TOGETHER", together)
        coarse = ClassRuns.plain(1, length, values).coarser(shift)
    kinds, masks = _cells(coarse, len(flat))
    for start in range(0, len(flat), 1 << shift):
        cell = flat[start : start + (1 << shift)]
        assert masks[start] == _expected_mask(cell)
        held = np.bincount(cell & 15, minlength=16)
        assert held[kinds[start]] == held.max()
    assert -(-len(flat) >> shift) == coarse.length.sum()


@given(_VALUES, st.integers(1, 8))
@settings(max_examples=60)
def test_the_number_of_runs_is_bounded_and_damage_never_lost(
    pieces: list[tuple[int, int]], most: int
) -> None:
    collector = RunCollector(512)
    for count, value in pieces:
        collector.add(np.array([count], dtype=np.int64), np.array([value], dtype=np.uint8))
    made = collector.runs(most)
    assert len(made) <= most
    hurt = any(value & DAMAGED for _, value in pieces)
    assert bool((made.mask >> np.uint16(DAMAGED_BIT)).any()) == hurt


@given(_VALUES, st.integers(1, 12))
@settings(max_examples=60)
def test_what_is_made_coarser_on_the_way_knows_all_that_is_in_it(
    pieces: list[tuple[int, int]], together: int
) -> None:
    length = np.array([piece[0] for piece in pieces], dtype=np.int64)
    values = np.array([piece[1] for piece in pieces], dtype=np.uint8)
    flat = np.repeat(values, length)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runs, "_MOST_COLLECTED", 8)
        collector = RunCollector(1)
        for at in range(0, len(pieces), together):
            collector.add(length[at : at + together], values[at : at + together])
        made = collector.runs(1000)
    size = made.cell_size
    assert int(made.length.sum()) == -(-len(flat) // size)
    for cell, mask in enumerate(np.repeat(made.mask, made.length).tolist()):
        assert mask == _expected_mask(flat[cell * size : (cell + 1) * size])


def test_memory_is_bounded_while_runs_come_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runs, "_MOST_COLLECTED", 1 << 10)
    collector = RunCollector(512)
    ones = np.ones(1 << 9, dtype=np.int64)
    values = np.tile(np.array([0, 1], dtype=np.uint8), 1 << 8)
    for _ in range(9):
        collector.add(ones, values)
    collector.add(np.array([1], dtype=np.int64), np.array([2 | DAMAGED], dtype=np.uint8))
    made = collector.runs(1000)
    end = ((9 << 9) + 1) * 512
    assert made.cell_size > 512
    assert 0 <= int(made.length.sum()) * made.cell_size - end < made.cell_size
    assert made.mask[-1] >> DAMAGED_BIT


def test_equal_neighbours_are_one_run_across_pieces() -> None:
    collector = RunCollector(1)
    for length, values in (([4, 3], [0, 0]), ([1, 2], [3, 0]), ([5], [0])):
        collector.add(np.array(length, dtype=np.int64), np.array(values, dtype=np.uint8))
    made = collector.runs(10)
    assert made.length.tolist() == [7, 1, 7]
    assert made.kind.tolist() == [0, 3, 0]


@pytest.mark.parametrize("length", [1, 4])
@given(st.lists(st.sampled_from([0, 2, 2, 2, 12, 2 | DAMAGED]), min_size=1, max_size=300))
@settings(max_examples=40)
def test_runs_of_one_length_become_the_same_as_any_runs(length: int, values: list[int]) -> None:
    made = []
    given_values = np.array(values, dtype=np.uint8)
    for alike in (True, False):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(runs, "_MOST_COLLECTED", 8)
            patch.setattr(runs, "_DENSE", 32 if alike else 0)
            collector = RunCollector(1)
            for at in range(0, len(values), 64):
                part = given_values[at : at + 64]
                if alike:
                    collector.add_alike(length, part, set(part.tolist()))
                else:
                    collector.add(np.full(len(part), length, dtype=np.int64), part)
            made.append(collector.runs(1000))
    assert made[0].cell_size == made[1].cell_size
    assert _cells(made[0], length * len(values)) == _cells(made[1], length * len(values))
