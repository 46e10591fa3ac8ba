"""What a check reads, on storage where each read costs: few reads, and little twice."""

from collections import Counter

from qcow2_dump.checks.checker import Checker
from qcow2_dump.image.image import Image
from qcow2_dump.image.resolver import NeverLook
from qcow2_dump.storage.base import ByteSource
from qcow2_dump.storage.memory import MemorySource
from qcow2_dump.storage.wrappers import CountingSource, WrappedSource
from tests.builder.build import build
from tests.builder.spec import Data, ImageSpec, Layout, SnapshotSpec

CLUSTER = 4096
TABLES = 100


def image_data() -> bytes:
    """A hundred L2 tables, shared with a snapshot, that lie side by side."""
    content = {table * (CLUSTER // 8): Data(1) for table in range(TABLES)}
    place = {f"l2/{table}": 100 + table for table in range(TABLES)}
    spec = ImageSpec(
        cluster_bits=12,
        virtual_size=TABLES * CLUSTER // 8 * CLUSTER,
        content=content,
        snapshots=(SnapshotSpec("1", "one"),),
        layout=Layout(place=place),
    )
    built = build(spec)
    return built.data.read(0, len(built.data))


class Told(WrappedSource):
    """Remembers what it was told of, and whether it was before the read."""

    def __init__(self, inner: ByteSource) -> None:
        super().__init__(inner)
        self.told: set[int] = set()
        self.untold: list[int] = []

    def will_need(self, offsets: list[int], length: int) -> None:
        self.told.update(offset + at for offset in offsets for at in range(0, length, CLUSTER))

    def read_at(self, offset: int, buffer: memoryview) -> int:
        if offset not in self.told:
            self.untold.append(offset)
        return super().read_at(offset, buffer)


def checked(source: ByteSource) -> Checker:
    checker = Checker(Image(source, NeverLook()))
    for _ in checker.run():
        pass
    assert not checker.log.tallies
    return checker


def test_reads_are_few_and_large() -> None:
    source = CountingSource(MemorySource(image_data()))
    checked(source)
    metadata = TABLES + 10
    # The refcount blocks are read twice, to know the stored ones and to compare them.
    assert source.bytes_read < 1.1 * metadata * CLUSTER
    assert source.reads < TABLES / 4


class Timed(WrappedSource):
    """Counts how often each offset was read from."""

    def __init__(self, inner: ByteSource) -> None:
        super().__init__(inner)
        self.times: Counter[int] = Counter()

    def read_at(self, offset: int, buffer: memoryview) -> int:
        self.times.update(range(offset, offset + len(buffer), CLUSTER))
        return super().read_at(offset, buffer)


def test_owners_are_looked_for_only_where_they_can_be() -> None:
    """The second walk reads only tables that lead as far down as the clusters to be named."""
    per_table = CLUSTER // 8
    content = {table * per_table + at: Data(1) for table in range(TABLES) for at in range(8)}
    size = TABLES * per_table * CLUSTER
    built = build(ImageSpec(cluster_bits=12, virtual_size=size, content=content))
    # Data follows the order of the guest: only the first three tables lead so far down.
    entry = built.l2_entry_offset(2, 7)
    built.set_refcount((built.peek(entry) & (1 << 56) - 1) // CLUSTER, 0)
    source = Timed(MemorySource(built.data.read(0, len(built.data))))
    checker = Checker(Image(source, NeverLook()))
    for _ in checker.run():
        pass
    (low,) = checker.log.kept("refcount.low")
    assert [(owner.offset, owner.l1_index) for owner in low.claimants] == [(entry, 2)]
    read = [source.times[table] for table in checker.facts.tables.offset.tolist()]
    assert (read.count(2), read.count(1)) == (3, TABLES - 3)


def test_tables_of_several_trees_are_read_in_large_pieces() -> None:
    """Each tree has its tables in a row; those of one guest range lie far apart."""
    per_table = CLUSTER // 8
    content = {table * per_table + at: Data(1) for table in range(TABLES) for at in range(8)}
    trees = tuple(SnapshotSpec(str(at), f"day {at}", own_tables=at < 2) for at in range(3))
    size = TABLES * per_table * CLUSTER
    spec = ImageSpec(cluster_bits=12, virtual_size=size, content=content, snapshots=trees)
    built = build(spec)
    source = CountingSource(MemorySource(built.data.read(0, len(built.data))))
    tables = checked(source).facts.tables
    assert len(tables) == 3 * TABLES
    assert source.reads < TABLES / 4


def test_tables_are_announced_before_they_are_read() -> None:
    data = image_data()
    source = Told(MemorySource(data))
    facts = checked(source).facts
    tables = set(facts.tables.offset.tolist())
    assert len(tables) == TABLES
    assert tables <= source.told
    assert not tables & set(source.untold)
