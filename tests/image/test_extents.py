"""Joining, cutting and layering of extents, against the same done byte by byte."""

import itertools
from collections.abc import Sequence

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from qcow2_dump.image.extents import NO_HOST, ExtentBatch, Runs, merge_runs, overlay
from qcow2_dump.image.holes import HoleMap
from qcow2_dump.image.problems import MappingProblem
from qcow2_dump.ondisk.mapping import ClusterType
from qcow2_dump.storage.memory import MemorySource

# A guest byte: host offset of it, type and problem.
Byte = tuple[int, int, int]
Piece = tuple[int, int, int, int]

PIECES = st.lists(
    st.tuples(
        st.integers(1, 9),
        st.one_of(st.just(NO_HOST), st.integers(0, 40)),
        st.sampled_from([int(kind) for kind in ClusterType]),
        st.sampled_from([0, int(MappingProblem.UNALIGNED)]),
    ),
    min_size=1,
    max_size=12,
)


def batch_of(pieces: Sequence[Piece], start: int = 100) -> ExtentBatch:
    """A batch of pieces (length, host, type, problem) that begins at a guest offset."""
    lengths, hosts, kinds, problems = (np.array(column) for column in zip(*pieces, strict=True))
    return ExtentBatch.make(
        start + np.cumsum(lengths) - lengths,
        lengths,
        hosts,
        kinds.astype(np.uint8),
        problems.astype(np.uint8),
    )


def bytes_of(batch: ExtentBatch) -> list[Byte]:
    """What the batch says of each guest byte."""
    found = []
    at = batch.first
    for extent in batch.extents():
        assert extent.start == at
        at += extent.length
        for within in range(extent.length):
            host = NO_HOST if extent.host_offset is None else extent.host_offset + within
            found.append((host, int(extent.type), int(extent.problem)))
    return found


@given(PIECES, st.integers(-5, 120), st.integers(0, 120))
def test_clipping_keeps_what_is_inside(pieces: list[Piece], start: int, length: int) -> None:
    batch = batch_of(pieces)
    first, end = 100 + start, 100 + start + length
    clipped = batch.clip(first, end)
    whole = bytes_of(batch)
    expected = whole[max(0, start) : max(0, start + length)]
    assert (bytes_of(clipped) if len(clipped) else []) == expected


@given(PIECES, PIECES)
def test_layers_show_through_where_they_should(over: list[Piece], under: list[Piece]) -> None:
    top, below = batch_of(over), batch_of(under)
    end = min(top.end, below.end)
    top, below = top.clip(100, end), below.clip(100, end)
    mixed = bytes_of(overlay(top, top.type == ClusterType.UNALLOCATED, below))
    for found, upper, lower in zip(mixed, bytes_of(top), bytes_of(below), strict=True):
        shown = lower if upper[1] == ClusterType.UNALLOCATED else upper
        assert found == (*shown[:2], upper[2] or shown[2])


@given(PIECES, st.lists(st.integers(1, 60), max_size=4))
def test_joining_does_not_depend_on_the_batches(pieces: list[Piece], cuts: list[int]) -> None:
    batch = batch_of(pieces)
    bounds = sorted({100, batch.end, *(100 + cut for cut in cuts if 100 + cut < batch.end)})
    parts = [batch.clip(a, b) for a, b in itertools.pairwise(bounds)]
    merged = list(
        merge_runs(Runs(p.start, p.length, p.host, p.type * 16 + p.problem) for p in parts)
    )
    rows = [row for runs in merged for row in zip(*columns(runs), strict=True)]
    at = 100
    said: list[Byte] = []
    for start, length, host, code in rows:
        assert start == at
        at += length
        places = range(host, host + length) if host != NO_HOST else [NO_HOST] * length
        said += [(place, code // 16, code % 16) for place in places]
    assert said == bytes_of(batch)
    for (_, length, host, code), (_, _, host_2, code_2) in itertools.pairwise(rows):
        assert (NO_HOST if host == NO_HOST else host + length, code) != (host_2, code_2)


def columns(runs: Runs) -> list[list[int]]:
    """The columns of some runs as plain integers."""
    return [column.tolist() for column in (runs.start, runs.length, runs.host, runs.code)]


class Holey(MemorySource):
    """A source that says where its holes are."""

    def __init__(self, bounds: list[int]) -> None:
        super().__init__(bytes(64), "holey")
        self.bounds = bounds

    def data_ranges(self, start: int, end: int):  # type: ignore[no-untyped-def]
        """Data between the even bounds and the next ones."""
        yield from zip(self.bounds[::2], self.bounds[1::2], strict=False)


@given(PIECES, st.lists(st.integers(0, 64), unique=True))
def test_holes_are_zeros_in_data_and_only_there(pieces: list[Piece], bounds: list[int]) -> None:
    batch = batch_of(pieces)
    ordered = sorted(bounds)
    marked = HoleMap(Holey(ordered)).mark(batch)
    assert bytes_of(marked) == bytes_of(batch)
    data = {at for a, b in zip(ordered[::2], ordered[1::2], strict=False) for at in range(a, b)}
    for extent in marked.extents():
        for within in range(extent.length):
            if extent.type == ClusterType.NORMAL and extent.host_offset is not None:
                assert extent.zero is (extent.host_offset + within not in data)
