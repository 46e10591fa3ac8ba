"""Where writes overlap, held against a list of the steps per byte."""

from itertools import pairwise
from unittest import mock

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from qcow2_dump.plan import segments as module
from qcow2_dump.plan.model import Write
from qcow2_dump.plan.segments import TooTangledError, are_too_tangled, groups, segments
from tests.plan.disk import make_plan

WRITES = st.lists(
    st.one_of(st.none(), st.tuples(st.integers(0, 60), st.integers(0, 30).map(bytes))), max_size=12
)


@given(WRITES)
def test_each_byte_is_in_the_segment_of_its_writes(changes: list[tuple[int, bytes] | None]) -> None:
    steps = make_plan(bytes(100), list(changes)).steps
    writers: list[list[int]] = [[] for _ in range(100)]
    for at, change in enumerate(changes):
        if change is not None:
            for place in range(change[0], change[0] + len(change[1])):
                writers[place].append(at)
    seen: list[list[int]] = [[] for _ in range(100)]
    last = 0
    for low, high, writes in segments(steps):
        assert last <= low < high
        last = high
        seen[low:high] = [writes] * (high - low)
    assert seen == writers


def test_too_many_in_each_other_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MOST_VISITS", 100)
    nested = make_plan(bytes(100), [(at, bytes(100 - 2 * at)) for at in range(40)])
    assert are_too_tangled(nested.steps)
    with pytest.raises(TooTangledError):
        list(segments(nested.steps))
    apart = make_plan(bytes(100), [(at, b"x") for at in range(90)])
    assert len(list(segments(apart.steps))) == 90
    assert not are_too_tangled(apart.steps)
    assert not are_too_tangled([])


@given(WRITES)
def test_groups_are_apart_and_in_order(changes: list[tuple[int, bytes] | None]) -> None:
    steps = make_plan(bytes(100), list(changes)).steps
    writes = [step for step in steps if isinstance(step, Write)]
    found = list(groups(writes))
    assert sorted(map(id, writes)) == sorted(id(write) for group in found for write in group)
    for group in found:
        order = [next(at for at, write in enumerate(writes) if write is held) for held in group]
        assert order == sorted(order)
        # Each of them touches what the others cover.
        reached = min(write.offset for write in group)
        for write in sorted(group, key=lambda write: write.offset):
            assert write.offset <= reached
            reached = max(reached, write.end)
    for one, other in pairwise(found):
        assert max(write.end for write in one) <= min(write.offset for write in other)


def test_a_group_reaches_as_far_as_its_longest_write() -> None:
    plan = make_plan(bytes(100), [(0, b"x" * 50), (5, b"y"), (20, b"z"), (50, b"apart")])
    assert [len(group) for group in groups(plan.writes())] == [3, 1]


def test_too_many_versions_of_one_place_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MOST_VERSIONS", 5)
    for often, apart in ((5, 0), (9, 10)):
        often_there = make_plan(bytes(200), [(at * apart, b"x" * 10) for at in range(often)])
        assert not are_too_tangled(often_there.steps)
    assert are_too_tangled(make_plan(bytes(100), [(0, b"xyz")] * 6).steps)
    assert are_too_tangled(make_plan(bytes(100), [(at, b"x" * 20) for at in range(6)]).steps)


@given(WRITES)
@example([(1, b""), (0, b"xxx")])
def test_it_is_known_beforehand_how_often_steps_are_looked_at(
    changes: list[tuple[int, bytes] | None],
) -> None:
    steps = make_plan(bytes(100), list(changes)).steps
    visits = sum(len(writes) for _, _, writes in segments(steps))
    for most in (visits - 1, visits):
        with mock.patch.object(module, "_MOST_VISITS", most):
            assert are_too_tangled(steps) is (visits > most)
