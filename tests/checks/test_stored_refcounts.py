"""Stored refcounts, read in pieces and one by one, against the values that were stored."""

import numpy as np
import pytest

from qcow2_dump.checks import stored as stored_module
from qcow2_dump.checks.stored import StoredRefcounts
from qcow2_dump.image.image import Image
from qcow2_dump.image.resolver import NeverLook
from qcow2_dump.storage.memory import MemorySource
from qcow2_dump.storage.wrappers import CountingSource
from tests.builder.packing import pack_refcount
from tests.hostile.raw_image import HEADER_PLACES

SIZE = 1024
MISSING, UNALIGNED, TOO_FAR = 0, 5 * SIZE + 512, 2**63 - SIZE


def image_of(order: int, table: list[int], blocks: dict[int, list[int]]) -> Image:
    """An image of 1 KiB clusters: its refcount table, and the refcounts of some blocks."""
    data = bytearray(64 * SIZE)
    fields = {"magic": 0x514649FB, "version": 3, "cluster_bits": 10, "header_length": 104}
    fields |= {"refcount_order": order, "refcount_table_clusters": 1, "refcount_table_offset": SIZE}
    for field, value in fields.items():
        offset, width = HEADER_PLACES[field]
        data[offset : offset + width] = value.to_bytes(width, "big")
    for index, entry in enumerate(table):
        data[SIZE + 8 * index : SIZE + 8 * index + 8] = entry.to_bytes(8, "big")
    for offset, refcounts in blocks.items():
        block = bytearray(SIZE)
        for index, value in enumerate(refcounts):
            pack_refcount(block, order, index, value)
        data[offset : offset + SIZE] = block
    return Image(CountingSource(MemorySource(data)), NeverLook())


def some_refcounts(order: int, number: int, seed: int) -> list[int]:
    most = (1 << (1 << order)) - 1
    drawn = np.random.default_rng(seed).integers(0, 4, number).tolist()
    return [(0, 1, most, most // 2)[value] for value in drawn]


@pytest.fixture(params=[8, 64, 1 << 17], ids="pieces of {}".format)
def piece(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    """How many refcounts are unpacked at a time: less than a block, or many blocks."""
    monkeypatch.setattr(stored_module, "_CHUNK", request.param)
    return int(request.param)


@pytest.mark.parametrize("order", range(7))
def test_every_width(order: int, piece: int) -> None:
    per_block = SIZE * 8 >> order
    first, second = (some_refcounts(order, per_block, seed) for seed in (1, 2))
    table = [8 * SIZE, MISSING, 9 * SIZE, 8 * SIZE]
    image = image_of(order, table, {8 * SIZE: first, 9 * SIZE: second})
    stored = StoredRefcounts(image)
    expected = [*first, *[0] * per_block, *second, *first, *[0] * per_block]
    clusters = len(expected) - 5
    read: list[int] = []
    missing: list[int] = []
    for chunk in stored.chunks(clusters):
        assert chunk.first == len(read)
        values = [0] * (chunk.end - chunk.first) if chunk.values is None else chunk.values.tolist()
        assert len(values) == chunk.end - chunk.first
        read += values
        missing += chunk.missing.tolist()
        assert not len(chunk.unreadable)
    assert read == expected[:clusters]
    assert missing == [1, 4]
    every = np.arange(len(expected))
    assert stored.values_of(every).tolist() == expected
    assert stored.values_of(every[::-3]).tolist() == expected[::-3]
    assert list(stored.note_ones(per_block + 8))
    assert stored.is_one(every).tolist() == [value == 1 for value in expected]
    assert stored.is_readable(every) is None


@pytest.mark.parametrize("order", [0, 4, 6])
def test_blocks_that_cannot_be_read(order: int, piece: int) -> None:
    per_block = SIZE * 8 >> order
    ones = [1] * per_block
    image = image_of(order, [UNALIGNED, 8 * SIZE, TOO_FAR], {8 * SIZE: ones})
    stored = StoredRefcounts(image)
    chunks = list(stored.chunks(3 * per_block))
    unreadable = [i for chunk in chunks for i in chunk.unreadable.tolist()]
    assert unreadable == [0, 2]
    assert not [i for chunk in chunks for i in chunk.missing.tolist()]
    every = np.arange(4 * per_block)
    expected = [0] * per_block + ones + [0] * 2 * per_block
    assert stored.values_of(every).tolist() == expected
    readable = stored.is_readable(every)
    assert readable is not None
    assert readable.tolist() == [i // per_block not in (0, 2) for i in range(4 * per_block)]


@pytest.mark.parametrize("order", range(1, 7))
def test_blocks_of_zeros_and_ones_are_not_read_again(order: int, piece: int) -> None:
    per_block = SIZE * 8 >> order
    bits = [0, 1, 1, 0] * (per_block // 4)
    # What is out of the ordinary may stand in any piece of a block.
    first, last = [2, *bits[1:]], [*bits[:-1], 3]
    blocks = {8 * SIZE: bits, 9 * SIZE: first, 10 * SIZE: last, 11 * SIZE: [1] * per_block}
    image = image_of(order, [8 * SIZE, 9 * SIZE, MISSING, 10 * SIZE, UNALIGNED, 11 * SIZE], blocks)
    stored, clusters = StoredRefcounts(image), 6 * per_block - 3
    before = described(stored, clusters)
    assert list(stored.note_ones(clusters))
    source = image.source
    assert isinstance(source, CountingSource)
    reads = source.reads
    after = described(stored, clusters)
    assert after == before
    # Pieces that are larger than a block hold others as well.
    if piece <= per_block:
        assert source.reads - reads == 2 * per_block // piece
    # More than was noted has to be read.
    assert described(stored, clusters + 1) != before
    assert list(stored.note_ones(clusters))
    assert described(stored, clusters) == before


@pytest.mark.parametrize("entry", [MISSING, UNALIGNED])
def test_blocks_that_cannot_be_had_are_still_told(entry: int, piece: int) -> None:
    per_block = SIZE // 2
    table = [8 * SIZE, entry, 8 * SIZE]
    stored = StoredRefcounts(image_of(4, table, {8 * SIZE: [1, 0] * (per_block // 2)}))
    before = described(stored, 3 * per_block)
    assert before[1:] == (([1], []) if entry == MISSING else ([], [1]))
    assert list(stored.note_ones(3 * per_block))
    assert described(stored, 3 * per_block) == before


def test_what_was_not_noted_to_the_end_is_read(piece: int) -> None:
    per_block = SIZE // 2
    stored = StoredRefcounts(image_of(4, [8 * SIZE], {8 * SIZE: [1] * per_block}))
    before = described(stored, per_block)
    assert list(stored.note_ones(per_block))
    assert next(stored.note_ones(per_block))
    assert described(stored, per_block) == before


def described(stored: StoredRefcounts, clusters: int) -> tuple[list[int], list[int], list[int]]:
    """The refcounts of the first clusters, and which blocks are missing and unreadable."""
    values: list[int] = []
    missing: list[int] = []
    unreadable: list[int] = []
    for chunk in stored.chunks(clusters):
        zeros = [0] * (chunk.end - chunk.first)
        values += zeros if chunk.values is None else chunk.values.tolist()
        missing += chunk.missing.tolist()
        unreadable += chunk.unreadable.tolist()
    return values, missing, unreadable


def test_reserved_bits_are_no_part_of_an_offset() -> None:
    image = image_of(4, [8 * SIZE | 0x1FF], {8 * SIZE: [7, 8]})
    assert StoredRefcounts(image).values_of(np.array([1, 0])).tolist() == [8, 7]


@pytest.mark.parametrize(
    "fields",
    [
        {"refcount_table_clusters": 0},
        {"refcount_table_clusters": 2**32 - 1},
        {"refcount_table_offset": SIZE + 8},
        {"refcount_table_offset": 2**63 - SIZE},
        {"refcount_table_offset": 2**64 - SIZE},
    ],
)
def test_a_table_that_cannot_be_used_has_no_entries(fields: dict[str, int]) -> None:
    data = bytearray(image_of(4, [8 * SIZE], {}).source.read(0, 64 * SIZE))
    for field, value in fields.items():
        offset, width = HEADER_PLACES[field]
        data[offset : offset + width] = value.to_bytes(width, "big")
    stored = StoredRefcounts(Image(MemorySource(data), NeverLook()))
    assert len(stored.entries) == 0
    assert stored.values_of(np.array([0, 2**40])).tolist() == [0, 0]
    assert [chunk.values for chunk in stored.chunks(300)] == [None]


def test_a_table_past_the_end_reads_as_zeros() -> None:
    image = image_of(4, [8 * SIZE], {8 * SIZE: [1]})
    data = image.source.read(0, 64 * SIZE)
    stored = StoredRefcounts(Image(MemorySource(data[: SIZE + 4]), NeverLook()))
    assert len(stored.entries) == SIZE // 8
    assert not stored.values_of(np.arange(1000)).any()


def test_no_more_is_read_than_it_takes() -> None:
    image = image_of(4, [8 * SIZE] * 64, {8 * SIZE: [1] * 512})
    source = image.source
    assert isinstance(source, CountingSource)
    stored = StoredRefcounts(image)
    before = source.bytes_read
    stored.values_of(np.array([3]))
    assert source.bytes_read - before <= 16
    before = source.reads
    assert len(list(stored.chunks(64 * 512))) == 1
    assert source.reads - before == 1
