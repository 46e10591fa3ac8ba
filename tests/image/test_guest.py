"""Trees that cannot be walked, in whole or in part: said as such, and never a crash."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qcow2_dump.checks.trees import Tree, trees_of
from qcow2_dump.image.extents import Extent
from qcow2_dump.image.guest import tree_extents, tree_pieces
from qcow2_dump.image.image import Image
from qcow2_dump.image.lookup import look_up
from qcow2_dump.image.plain_clusters import PlainClusters
from qcow2_dump.image.problems import MappingProblem
from qcow2_dump.ondisk.mapping import ClusterType
from qcow2_dump.storage.memory import MemorySource
from qcow2_dump.storage.wrappers import CountingSource, FailingSource
from tests.builder.build import build
from tests.builder.built import BuiltImage
from tests.builder.sound_specs import EXTENDED, MIXED
from tests.builder.spec import Data, ImageSpec
from tests.builder.std import std_image

COMPRESSED = 1 << 62
COPIED = 1 << 63


def opened(built: BuiltImage) -> Image:
    """The image, from memory."""
    return Image(MemorySource(built.data.to_bytes(), "image"))


def walked(image: Image, tree: Tree | None = None) -> list[Extent]:
    """The extents of a tree, which tile its disk."""
    tree = tree or trees_of(image)[0]
    found = [extent for batch in tree_extents(image, tree) for extent in batch.extents()]
    at = 0
    for extent in found:
        assert extent.start == at
        at += extent.length
    assert at == tree.disk_size // 512 * 512
    return found


def problems(found: list[Extent]) -> dict[MappingProblem, tuple[int, int]]:
    """The first range in guest clusters of each problem."""
    return {e.problem: (e.start >> 16, e.length >> 16) for e in reversed(found) if e.problem}


@pytest.mark.parametrize(
    ("raw", "problem", "kind"),
    [
        (COPIED | 0x50200, MappingProblem.UNALIGNED, ClusterType.NORMAL),
        (COPIED | 1 << 40, MappingProblem.BEYOND_END, ClusterType.NORMAL),
        (1 << 40 | 1, MappingProblem.BEYOND_END, ClusterType.ZERO_ALLOC),
        (COMPRESSED | 1 << 40, MappingProblem.BEYOND_END, ClusterType.COMPRESSED),
    ],
)
def test_a_damaged_entry_is_told(raw: int, problem: MappingProblem, kind: ClusterType) -> None:
    built = std_image()
    built.set_l2(0, 1, raw)
    found = walked(opened(built))
    assert problems(found) == {problem: (1, 1)}
    assert [extent.type for extent in found if extent.problem] == [kind]


def test_tables_that_are_not_where_they_should_be() -> None:
    built = build(ImageSpec(virtual_size=2 << 30, content={0: Data(1), 8192: Data(2)}))
    built.set_l1(1, COPIED | 0x40200)
    built.set_l1(2, COPIED | 1 << 40)
    found = walked(opened(built))
    per_table = 8192
    assert problems(found) == {
        MappingProblem.L2_UNALIGNED: (per_table, per_table),
        MappingProblem.L2_BEYOND_END: (2 * per_table, per_table),
    }
    hidden = next(e for e in found if e.problem is MappingProblem.L2_UNALIGNED)
    # Nobody may take for zeros what nobody has read.
    assert (hidden.type, hidden.zero, hidden.host_offset) == (ClusterType.NORMAL, False, None)


def test_tables_that_cannot_be_read() -> None:
    built = build(ImageSpec(virtual_size=1 << 30, content={0: Data(1), 8192: Data(2)}))
    table = built.active.l2[1]
    source = FailingSource(MemorySource(built.data.to_bytes(), "image"), (table, table + 8))
    found = walked(Image(source))
    assert problems(found) == {MappingProblem.L2_UNREADABLE: (8192, 8192)}
    l1 = built.active.l1
    source = FailingSource(MemorySource(built.data.to_bytes(), "image"), (l1, l1 + 8))
    (whole,) = walked(Image(source))
    assert whole.problem is MappingProblem.L1_UNREADABLE


def test_an_l1_table_that_makes_no_sense() -> None:
    built = std_image()
    built.poke(40, built.active.l1 + 512)
    (whole,) = walked(opened(built))
    assert (whole.problem, whole.zero) == (MappingProblem.L1_UNREADABLE, False)


@pytest.mark.parametrize(("inside", "mapped"), [(0, 0), (512, 64)])
def test_an_l1_table_past_the_end_of_the_file(inside: int, mapped: int) -> None:
    """Zeros that nobody wrote are no entries, wholly or from where the file ends."""
    built = build(ImageSpec(virtual_size=50 << 30, content={0: Data(1)}))
    start = len(built.data)
    built.data.truncate(start + inside)
    built.poke(40, start)
    image = opened(built)
    found = walked(image)
    lost = found[-1]
    assert problems(found) == {MappingProblem.L1_BEYOND_END: (mapped * 8192, (100 - mapped) * 8192)}
    assert lost.type is ClusterType.UNALLOCATED
    looked = look_up(image, trees_of(image)[0], lost.start)
    assert (looked.l1, looked.l1_place) == (None, None)
    assert looked.problem is MappingProblem.L1_BEYOND_END
    if mapped:
        last = look_up(image, trees_of(image)[0], lost.start - 1)
        assert (last.l1_index, last.problem) == (63, MappingProblem.NONE)


def test_what_the_l1_table_does_not_reach_is_unallocated() -> None:
    image = opened(std_image())
    tree = replace(trees_of(image)[0], disk_size=2**63 + 5)
    last = walked_tail(image, tree)
    assert (last.type, last.problem) == (ClusterType.UNALLOCATED, MappingProblem.NONE)
    assert last.start + last.length == 2**63 - 512


def walked_tail(image: Image, tree: Tree) -> Extent:
    """The last extent of a tree."""
    return [extent for batch in tree_extents(image, tree) for extent in batch.extents()][-1]


def test_only_the_part_that_is_asked_for_is_read() -> None:
    built = build(ImageSpec(cluster_bits=21, virtual_size=1 << 40, content={0: Data(1)}))
    source = CountingSource(MemorySource(built.data.to_bytes(), "image"))
    image = Image(source)
    before = source.bytes_read
    (batch,) = tree_extents(image, trees_of(image)[0], 5 << 21, 9 << 21)
    assert (batch.first, batch.end) == (5 << 21, 9 << 21)
    assert source.bytes_read - before < 4096


LIKELY = st.one_of(
    st.integers(0, 2**64 - 1),
    st.sampled_from([0, 1, COPIED, COMPRESSED | 0x50001, 0x50000, 0x50001, COPIED | 1 << 40]),
)


@given(
    st.booleans(),
    st.booleans(),
    st.lists(st.tuples(st.integers(0, 19), LIKELY, LIKELY), max_size=12),
)
def test_both_ways_through_the_tables_agree(
    extended: bool, version_2: bool, pokes: list[tuple[int, int, int]]
) -> None:
    """The arrays and the scalar look-up say the same of every subcluster, whatever the entries."""
    content = EXTENDED if extended else MIXED
    built = build(ImageSpec(extended_l2=extended, content=content))
    for index, raw, bitmap in pokes:
        built.set_l2(0, index, raw)
        if extended:
            built.set_subclusters(0, index, bitmap)
    if version_2 and not extended:
        built.poke(4, 2, width=4)
    image = opened(built)
    tree = trees_of(image)[0]
    unit = image.geometry.subcluster_size
    for extent in walked(image):
        for offset in range(extent.start, min(extent.start + extent.length, 20 << 16), unit):
            looked = look_up(image, tree, offset)
            assert (looked.type, looked.problem) == (extent.type, extent.problem)
            placed = looked.host is not None and looked.type != ClusterType.COMPRESSED
            assert placed == (extent.host_offset is not None)
            if placed and looked.host is not None and extent.host_offset is not None:
                within = offset % image.geometry.cluster_size
                assert looked.host + within == extent.host_offset + offset - extent.start


PLAIN = [0, COPIED, 0x10000, 0x50000, COPIED | 0x60000, COPIED | 0x70000, 0x80000]


@given(st.lists(st.sampled_from([*PLAIN, COPIED | 1 << 40, 1]), min_size=20, max_size=20))
def test_scattered_data_is_told_as_any_other(entries: list[int]) -> None:
    built = build(ImageSpec(content={}, virtual_size=20 << 16))
    built.set_l1(0, 0x50000)
    for index, raw in enumerate(entries):
        built.poke(0x50000 + 8 * index, raw, width=8)
    built.poke(0x8FFF8, 0, width=8)
    image = opened(built)
    tree = trees_of(image)[0]
    pieces = [isinstance(piece, PlainClusters) for piece in tree_pieces(image, tree)]
    assert pieces == [set(entries) <= set(PLAIN)]
    for extent in walked(image):
        for offset in range(extent.start, extent.start + extent.length, 1 << 16):
            looked = look_up(image, tree, offset)
            assert (looked.type, looked.problem) == (extent.type, extent.problem)
            if looked.host is None:
                assert extent.host_offset is None
            else:
                assert extent.host_offset is not None
                assert looked.host == extent.host_offset + offset - extent.start


def test_a_disk_without_a_sector() -> None:
    assert walked(opened(build(ImageSpec(virtual_size=0)))) == []
