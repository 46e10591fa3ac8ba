"""Reading L2 tables in bulk: each that holds data is read once, whatever is read together."""

from collections import Counter, defaultdict
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qcow2_dump.checks.host_space import HostSpace
from qcow2_dump.checks.tables import l2_batches
from qcow2_dump.checks.tables.l1_slots import L1Slots
from qcow2_dump.checks.tables.l2_batches import L2Batch, read_l2_batches
from qcow2_dump.checks.tables.l2_tables import L2Tables, distinct_l2_tables
from qcow2_dump.ondisk.geometry import Geometry
from qcow2_dump.storage.base import ByteSource
from qcow2_dump.storage.memory import MemorySource
from qcow2_dump.storage.wrappers import WrappedSource


class Recorder(WrappedSource):
    """Remembers which bytes were read, and makes holes of some clusters."""

    def __init__(self, inner: ByteSource, holes: frozenset[int], size: int) -> None:
        super().__init__(inner)
        self.reads: list[tuple[int, int]] = []
        self._holes, self._size_of_hole = holes, size

    def read_at(self, offset: int, buffer: memoryview) -> int:
        self.reads.append((offset, len(buffer)))
        return super().read_at(offset, buffer)

    def data_ranges(self, start: int, end: int) -> Iterator[tuple[int, int]]:
        size = self._size_of_hole
        for cluster in range(start // size, -(-min(end, self.size) // size)):
            if cluster not in self._holes:
                data = max(start, cluster * size), min(end, (cluster + 1) * size, self.size)
                yield data


def slots_of(pointers: list[tuple[int, int, int, bool]]) -> L1Slots:
    """L1 slots made of (offset of the table, L1 index, weight, active), in file order."""
    offset, index, weight, active = zip(*pointers, strict=True) if pointers else ((),) * 4
    return L1Slots(
        place=np.arange(len(pointers), dtype=np.int64) * 8,
        raw=np.array(offset, dtype=np.uint64),
        weight=np.array(weight, dtype=np.int64),
        active=np.array(active, dtype=np.bool_),
        l1_index=np.array(index, dtype=np.int64),
    )


def noise(geometry: Geometry, clusters: int) -> bytes:
    return np.random.default_rng(clusters).bytes(clusters * geometry.cluster_size)


def tables_in(
    source: ByteSource, geometry: Geometry, pointers: list[tuple[int, int, int, bool]]
) -> L2Tables:
    space = HostSpace(
        geometry.cluster_bits, source.size, source.size, geometry.clusters(source.size)
    )
    return distinct_l2_tables(slots_of(pointers), space, source)


pointers = st.lists(
    st.tuples(
        st.integers(0, 12).map(lambda cluster: cluster * 512),
        st.integers(0, 5),
        st.integers(1, 3),
        st.booleans(),
    ),
    max_size=25,
)


@settings(deadline=None)
@given(
    pointers,
    st.frozensets(st.integers(0, 9)),
    st.sampled_from([64, 128, 1 << 16]),
    st.sampled_from([64, 192, 1 << 16]),
)
def test_each_table_with_data_is_read_once(
    made: list[tuple[int, int, int, bool]], holes: frozenset[int], together: int, gathered: int
) -> None:
    geometry = Geometry(9)
    source = Recorder(MemorySource(noise(geometry, 10)), holes, 512)
    tables = tables_in(source, geometry, made)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(l2_batches, "_BATCH_ENTRIES", together)
        patch.setattr(l2_batches, "_GATHERED_ENTRIES", gathered)
        batches = []
        for batch in read_l2_batches(source, geometry, tables):
            hold_content(source, tables, batch)
            batches.append(batch)
    read = Counter(int(table) for batch in batches for table in batch.tables)
    assert set(read.values()) <= {1}
    inside = {offset for offset, *_ in made if offset < source.size}
    held = {offset for offset in inside if offset // 512 not in holes}
    offsets = {int(tables.offset[table]) for table in read}
    assert held <= offsets <= inside
    # A hole is read for the sake of comparison only: an active table beside one with data.
    for offset in offsets - held:
        index = min(i for o, i, *_ in made if o == offset)
        beside = {o for o, i, *_ in made if o != offset and i <= index}
        assert beside & held
    read_at = Counter(
        at for offset, length in source.reads for at in range(offset, offset + length, 512)
    )
    assert read_at == Counter(offsets)
    for batch in batches:
        hold_groups(tables, batch)


def hold_content(source: Recorder, tables: L2Tables, batch: L2Batch) -> None:
    """Each row holds the entries of its table, or of the part of it."""
    for table, entries in zip(batch.tables.tolist(), batch.entries, strict=True):
        start = int(tables.offset[table]) + 8 * batch.first
        stored = source.inner.read(start, 8 * len(entries))
        assert entries.tolist() == np.frombuffer(stored, dtype=">u8").tolist()


def hold_groups(tables: L2Tables, batch: L2Batch) -> None:
    """All the tables of one L1 index are neighbours in one batch."""
    assert len(batch.tables) % batch.members == 0
    groups = list(batch.groups())
    indices = [set(tables.l1_index[group.tables].tolist()) for group in groups]
    assert all(len(index) == 1 for index in indices)
    assert len(set().union(*indices)) == len(groups)
    assert sum(len(group.entries) for group in groups) == len(batch.entries)


@pytest.mark.parametrize("extended_l2", [False, True])
@pytest.mark.parametrize("together", [64, 100, 256, 4096])
def test_large_tables_come_in_parts(
    monkeypatch: pytest.MonkeyPatch, extended_l2: bool, together: int
) -> None:
    monkeypatch.setattr(l2_batches, "_BATCH_ENTRIES", together)
    monkeypatch.setattr(l2_batches, "_BATCH_ENTRIES", together)
    geometry = Geometry(14, extended_l2=extended_l2)
    content = noise(geometry, 8)
    source = MemorySource(content)
    size = geometry.cluster_size
    # Tables 1 and 2 alone, 3 to 5 at one index, 6 and 7 at another.
    made = [
        (size * cluster, max(0, cluster - 3) // 3 * 10 + cluster // 3, 1, True)
        for cluster in range(1, 8)
    ]
    tables = tables_in(source, geometry, made)
    words = defaultdict(list)
    for batch in read_l2_batches(source, geometry, tables):
        for row, table in enumerate(batch.tables.tolist()):
            assert batch.first == sum(len(part) for part in words[table])
            part = batch.entries[row]
            if batch.bitmaps is not None:
                part = np.stack([part, batch.bitmaps[row]], axis=1)
            words[table].append(part.copy())
    assert len(words) == 7
    for table, parts in words.items():
        start = int(tables.offset[table])
        stored = np.frombuffer(content[start : start + size], dtype=">u8")
        assert np.concatenate(parts).reshape(-1).tolist() == stored.tolist()


def test_what_the_walk_knows_of_each_table() -> None:
    geometry = Geometry(10)
    source = MemorySource(bytes(1024 * 8))
    made = [
        (0xC00, 4, 2, True),
        (0x400, 0, 1, True),
        (0xC00, 1, 3, False),
        (0xC00, 1, 1, False),
        (0x600, 2, 1, False),
        (0x9000, 3, 1, False),
    ]
    tables = tables_in(source, geometry, made)
    assert tables.offset.tolist() == [0x400, 0x600, 0xC00, 0x9000]
    assert tables.weight.tolist() == [1, 1, 6, 1]
    assert tables.active.tolist() == [1, 0, 1, 0]
    assert tables.l1_index.tolist() == [0, 2, 1, 3]
    assert tables.own.tolist() == [1, 1, 4, 1]
    assert tables.misread.tolist() == [False, True, False, False]
    assert tables.walked.tolist() == [True, True, True, False]
    assert sorted(tables.slots_of(2).tolist()) == [0, 2, 3]
    assert tables.skipped == 0


def test_no_tables() -> None:
    geometry = Geometry(9)
    source = MemorySource(bytes(512))
    tables = tables_in(source, geometry, [])
    assert len(tables) == 0
    assert list(read_l2_batches(source, geometry, tables)) == []


def test_many_pairs_are_gathered_a_few_at_a_time() -> None:
    """Neighbours together, and no more than there is room for, of two trees with many tables."""
    pairs, geometry = 200_000, Geometry(16)
    number = np.arange(2 * pairs)
    none, ones = np.zeros(2 * pairs, dtype=np.bool_), np.ones(2 * pairs, dtype=np.int64)
    tables = L2Tables(
        offset=(number + 1) << 16,
        weight=ones,
        active=ones,
        own=ones,
        l1_index=number % pairs,
        misread=none,
        walked=~none,
        hole=none,
        skipped=0,
        slot_order=number,
        slot_start=np.arange(2 * pairs + 1),
    )
    room = l2_batches._GATHERED_ENTRIES // geometry.l2_entries
    read = 0
    for reading in l2_batches._readings(geometry, tables):
        chosen = np.concatenate([part.chosen for part in reading])
        assert len(chosen) <= room + 1
        assert set(np.diff(np.sort(chosen % pairs)).tolist()) <= {0, 1}
        read += len(chosen)
    assert read == 2 * pairs
