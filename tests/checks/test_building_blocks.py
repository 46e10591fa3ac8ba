"""The pieces that the walk is made of, each against a plain version of itself."""

from __future__ import annotations

from collections import Counter

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from qcow2_dump.checks.bitset import BitSet
from qcow2_dump.checks.mapping.merge_claims import merge_claims
from qcow2_dump.checks.refcount_map import RefcountMap

SIZE = 64
indices = st.lists(st.integers(0, SIZE - 1), max_size=40)
runs = st.tuples(st.integers(0, SIZE - 1), st.integers(1, SIZE))


def _array(values: list[int]) -> np.ndarray:
    return np.array(values, dtype=np.int64)


@given(st.lists(indices, max_size=4))
def test_a_bit_set_is_a_set(batches: list[list[int]]) -> None:
    held, plain = BitSet(SIZE), set[int]()
    for batch in batches:
        held.add(_array(batch))
        plain |= set(batch)
    assert len(held) == len(plain)
    assert bool(held) == bool(plain)
    assert held.first(SIZE).tolist() == sorted(plain)
    assert held.first(2).tolist() == sorted(plain)[:2]
    assert held.contains(np.arange(SIZE)).tolist() == [i in plain for i in range(SIZE)]
    assert held.flags(3, 50).tolist() == [i in plain for i in range(3, 50)]


@settings(max_examples=200)
@given(st.lists(st.tuples(indices, st.integers(1, 3)), max_size=6), st.lists(runs, max_size=3))
def test_references_and_owners(
    claims: list[tuple[list[int], int]], ranges: list[tuple[int, int]]
) -> None:
    """A cluster is shared when more than one claim was made of it, whatever their weights."""
    counted = RefcountMap(SIZE)
    references, owners = Counter[int](), Counter[int]()
    for first, length in ranges:
        end = min(first + length, SIZE)
        counted.claim_range(first, end)
        references.update(range(first, end))
        owners.update(range(first, end))
    for places, weight in claims:
        counted.claim(_array(places), weight, weight)
        for place in places:
            references[place] += weight
            owners[place] += 1
    assert counted.counts.tolist() == [references[i] for i in range(SIZE)]
    assert counted.shared.first(SIZE).tolist() == sorted(i for i in owners if owners[i] > 1)
    assert not counted.overflowed


def test_long_runs_count_like_single_claims() -> None:
    run = np.arange(5000, dtype=np.int64)
    slow, fast = RefcountMap(6000), RefcountMap(6000)
    fast.claim(run, 2, 2)
    slow.claim_each(run, np.full(5000, 2), np.full(5000, 2))
    assert (fast.counts == slow.counts).all()
    assert not fast.shared
    fast.claim(run[1000:3000], 1, 1)
    assert fast.shared.first(6000).tolist() == list(range(1000, 3000))


def test_a_counter_that_wraps_is_noticed() -> None:
    narrow, wide = RefcountMap(4, bits=8), RefcountMap(4, bits=16)
    for counted in (narrow, wide):
        counted.claim(np.zeros(256, dtype=np.int64), 1, 1)
    assert narrow.overflowed
    assert not wide.overflowed
    assert int(wide.counts[0]) == 256


@given(indices, indices)
def test_compressed_streams_share_with_each_other_only(one: list[int], other: list[int]) -> None:
    counted = RefcountMap(SIZE)
    counted.claim_compressed(_array(one), np.ones(len(one), dtype=np.int64))
    counted.claim_compressed(_array(one), np.ones(len(one), dtype=np.int64))
    assert not counted.shared
    plain = sorted(set(other))
    counted.claim(_array(plain), 1, 1)
    assert counted.shared.first(SIZE).tolist() == sorted(set(one) & set(plain))


@given(
    st.integers(2, 5).flatmap(
        lambda rows: st.lists(
            st.lists(st.sampled_from([0, 512, 1024, 1536]), min_size=rows, max_size=rows),
            min_size=1,
            max_size=12,
        )
    ),
    st.data(),
)
def test_equal_entries_of_one_guest_cluster_are_one_claim(
    columns: list[list[int]], data: st.DataObject
) -> None:
    rows = len(columns[0])
    weights = data.draw(st.lists(st.integers(1, 9), min_size=rows, max_size=rows))
    owns = data.draw(st.lists(st.integers(1, 9), min_size=rows, max_size=rows))
    offsets = np.array(columns, dtype=np.uint64).T
    expected = Counter[tuple[int, int, int]]()
    for column in columns:
        for offset in set(column) - {0}:
            chosen = [row for row in range(rows) if column[row] == offset]
            claim = (offset, sum(weights[r] for r in chosen), sum(owns[r] for r in chosen))
            expected[claim] += 1
    held, weight, own = merge_claims(
        offsets, _array(weights).reshape(-1, 1), _array(owns).reshape(-1, 1)
    )
    assert Counter(zip(held.tolist(), weight.tolist(), own.tolist(), strict=True)) == expected
