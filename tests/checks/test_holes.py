"""Which stretches of a sparse file hold data, and which trees use a place; asked one by one."""

from collections.abc import Iterator

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from qcow2_dump.checks.mapping.tree_finder import TreeFinder
from qcow2_dump.checks.tables.holes import holds_data
from qcow2_dump.checks.tables.nonzero_entries import read_nonzero
from qcow2_dump.checks.trees import LISTED_TREES, Tree
from qcow2_dump.storage.memory import MemorySource

SIZE = 400


class Sparse(MemorySource):
    """Bytes of which only some are data; counts how often it was asked."""

    def __init__(self, ranges: list[tuple[int, int]]) -> None:
        data = bytearray(SIZE)
        for start, end in ranges:
            data[start:end] = b"\x11" * (end - start)
        super().__init__(data)
        self.asked = 0
        self.bytes = bytes(data)
        self._ranges = ranges

    def data_ranges(self, start: int, end: int) -> Iterator[tuple[int, int]]:
        self.asked += 1
        for data, hole in self._ranges:
            if max(start, data) < min(end, hole):
                yield max(start, data), min(end, hole)


# Data and holes that do not touch: every other bound starts data.
ranges = st.lists(st.integers(0, SIZE), unique=True, max_size=12).map(
    lambda bounds: list(zip(sorted(bounds)[::2], sorted(bounds)[1::2], strict=False))
)


@given(ranges, st.lists(st.integers(0, SIZE + 50)), st.integers(1, 60))
def test_stretches_with_data(data: list[tuple[int, int]], offsets: list[int], length: int) -> None:
    source = Sparse(data)
    held = holds_data(source, np.array(sorted(offsets), dtype=np.int64), length)
    expected = [any(source.bytes[offset : offset + length]) for offset in sorted(offsets)]
    assert held.tolist() == expected
    assert source.asked <= 2 * len(data) + 1


@given(ranges, st.integers(0, 50), st.integers(0, 50))
def test_entries_that_are_not_zero(data: list[tuple[int, int]], start: int, end: int) -> None:
    source = Sparse(data)
    start, end = sorted((8 * start, 8 * end))
    found: list[tuple[int, int]] = []
    for places, values in read_nonzero(source, start, end):
        found += zip(places.tolist(), values.tolist(), strict=True)
    words = ((at, int.from_bytes(source.bytes[at : at + 8], "big")) for at in range(start, end, 8))
    assert found == [(at, word) for at, word in words if word]


@given(
    st.lists(st.tuples(st.integers(0, 30), st.integers(0, 5), st.booleans()), max_size=30),
    st.lists(st.integers(0, 300)),
)
def test_trees_at_a_place(made: list[tuple[int, int, bool]], places: list[int]) -> None:
    trees = [
        Tree(None, str(i), 8 * start, size, 0, usable, False)
        for i, (start, size, usable) in enumerate(made)
    ]
    finder = TreeFinder(trees)
    for place in places:
        users = [t.label for t in trees if t.usable and t.l1_offset <= place < t.l1_end]
        assert finder.labels_at(place) == tuple(users[:LISTED_TREES])
