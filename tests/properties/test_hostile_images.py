"""Whatever the bytes: no exception but our own, and a result that agrees with itself.

Random bytes behind the magic, and sound small images whose header fields and tables are
overwritten, flipped, copied over each other or cut off.
"""

from collections import Counter
from dataclasses import dataclass
from functools import cache

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from qcow2_dump import CheckResult, Qcow2Error, Severity, Verdict, check
from qcow2_dump.events import ImageChecked
from qcow2_dump.image.image import Image
from qcow2_dump.image.resolver import NeverLook
from qcow2_dump.report.json_report import check_document, to_line
from qcow2_dump.report.text import TextOptions, check_report
from qcow2_dump.storage.memory import MemorySource
from tests.builder.build import build
from tests.builder.built import BuiltImage
from tests.builder.spec import (
    ALL_ONES,
    BitmapSpec,
    Compressed,
    Content,
    Data,
    ImageSpec,
    SnapshotSpec,
    Subclusters,
    ZeroAlloc,
    ZeroPlain,
)
from tests.hostile.raw_image import HEADER_PLACES

CONTENT: dict[int, Content] = {
    0: Data(1),
    1: ZeroAlloc(),
    2: ZeroPlain(),
    3: Compressed(4),
    5: Data(b"five"),
    6: Compressed(7, noise=300),
    70: Data(8),
}
SNAPSHOTS = (
    SnapshotSpec("1", "first", content={0: Data(9)}),
    SnapshotSpec("2", "second", content={70: Data(3)}, own_tables=True),
)
BITMAPS = (BitmapSpec("bits", table={0: b"\x0f"}), BitmapSpec("all", table={0: ALL_ONES}))

SMALL = ImageSpec(cluster_bits=9, virtual_size=1 << 18, content=CONTENT, snapshots=SNAPSHOTS)
SPECS = {
    "small": SMALL,
    "bitmaps": ImageSpec(cluster_bits=10, virtual_size=1 << 20, content=CONTENT, bitmaps=BITMAPS),
    "version-2": ImageSpec(version=2, cluster_bits=9, virtual_size=1 << 18, content=CONTENT),
    "narrow": ImageSpec(
        cluster_bits=9,
        refcount_order=1,
        virtual_size=1 << 18,
        content={0: Data(1), 1: ZeroAlloc(), 2: ZeroPlain(), 70: Data(8)},
        snapshots=SNAPSHOTS[:1],
    ),
    "wide": ImageSpec(cluster_bits=9, refcount_order=6, virtual_size=1 << 18, content=CONTENT),
    "data-file": ImageSpec(
        cluster_bits=9, virtual_size=1 << 18, content={0: Data(1), 70: Data(2)}, data_file="d.raw"
    ),
    "extended": ImageSpec(
        cluster_bits=14,
        virtual_size=1 << 24,
        extended_l2=True,
        content={0: Data(1), 3: Compressed(4), 5: Subclusters(0x0000_0004_0000_0002)},
    ),
    "zstd": ImageSpec(
        cluster_bits=12, virtual_size=1 << 20, compression_type=1, content={3: Compressed(4)}
    ),
    "encrypted": ImageSpec(
        cluster_bits=9, virtual_size=1 << 18, content={0: Data(1)}, crypt_method=2, luks=bytes(2048)
    ),
}

FIELDS = sorted(set(HEADER_PLACES) - {"magic"})


@dataclass(frozen=True)
class Write:
    """Bytes that lie where others were."""

    offset: int
    value: bytes

    def apply(self, data: bytearray) -> None:
        """Change an image."""
        data[self.offset : self.offset + len(self.value)] = self.value


@dataclass(frozen=True)
class Flip:
    """A bit that turned over."""

    offset: int
    bit: int

    def apply(self, data: bytearray) -> None:
        """Change an image."""
        if self.offset < len(data):
            data[self.offset] ^= 1 << self.bit


@dataclass(frozen=True)
class Copy:
    """A piece of one table that lies where another should be."""

    source: int
    target: int
    length: int

    def apply(self, data: bytearray) -> None:
        """Change an image."""
        data[self.target : self.target + self.length] = data[self.source :][: self.length]


@dataclass(frozen=True)
class Cut:
    """A file that ends early, or late."""

    length: int

    def apply(self, data: bytearray) -> None:
        """Change an image."""
        data[self.length :] = bytes(max(0, self.length - len(data)))


Change = Write | Flip | Copy | Cut


@dataclass(frozen=True)
class Damaged:
    """A sound image with a few changes."""

    base: str
    changes: tuple[Change, ...]

    def data(self) -> bytes:
        """The bytes of the damaged image; the magic stays."""
        content = base(self.base)[1]
        data = bytearray(content)
        for change in self.changes:
            change.apply(data)
        data[:4] = content[:4]
        # Thousands of snapshots take seconds, and are tried elsewhere.
        data[60:63] = bytes(3)
        return bytes(data)


@cache
def base(name: str) -> tuple[BuiltImage, bytes]:
    """A sound image and its bytes."""
    built = build(SPECS[name])
    return built, built.data.to_bytes()


def tables_of(built: BuiltImage) -> list[int]:
    """Where the metadata of an image starts: byte offsets, the header's first."""
    places = built.places
    found = [0, places.refcount_table, *places.refcount_blocks.values()]
    for layer in places.layers:
        found += [layer.l1, *layer.l2.values()]
    if places.snapshot_table:
        found += [places.snapshot_table, *places.snapshot_records]
    if places.bitmap_directory:
        found.append(places.bitmap_directory)
        found += [place for bitmap in places.bitmaps for place in (bitmap.record, bitmap.table)]
    return found


def interesting(tables: list[int], size: int) -> st.SearchStrategy[int]:
    """Values of 64 bits that mean something in some field."""
    flags = st.sampled_from([0, 1, 2, 1 << 8, 1 << 56, 1 << 62, 1 << 63, 3 << 62, (3 << 62) | 1])
    places = st.sampled_from([*tables, 0x200, size - 512, size, size + 512, 1 << 40, 1 << 55])
    return st.one_of(
        st.builds(lambda place, flag: max(0, place) | flag, places, flags),
        st.sampled_from([0, 1, 2**31, 2**32 - 1, 2**53 + 1, 2**63 - 1, 2**63, 2**64 - 1]),
        st.integers(0, 2**64 - 1),
    )


def header_changes(values: st.SearchStrategy[int]) -> st.SearchStrategy[Change]:
    """A field of the header gets another value."""

    def write(field: str, value: int) -> Change:
        offset, width = HEADER_PLACES[field]
        return Write(offset, (value % (1 << 8 * width)).to_bytes(width, "big"))

    return st.builds(write, st.sampled_from(FIELDS), st.one_of(st.integers(0, 32), values))


def table_changes(tables: list[int], values: st.SearchStrategy[int]) -> st.SearchStrategy[Change]:
    """A word of a table gets another value, once or several times in a row."""

    def write(start: int, word: int, value: int, times: int) -> Change:
        return Write(start + 4 * word, value.to_bytes(8, "big") * times)

    times = st.sampled_from([1, 1, 1, 2, 64])
    return st.builds(write, st.sampled_from(tables), st.integers(0, 40), values, times)


def flips(tables: list[int]) -> st.SearchStrategy[Change]:
    """A bit of a table turns over."""
    place = st.builds(int.__add__, st.sampled_from(tables), st.integers(0, 255))
    return st.builds(Flip, place, st.integers(0, 7))


@st.composite
def damaged_images(draw: st.DrawFn) -> Damaged:
    """A sound image with a few changes."""
    name = draw(st.sampled_from(sorted(SPECS)))
    built, content = base(name)
    tables, size = tables_of(built), len(content)
    values, place = interesting(tables, size), st.sampled_from(tables)
    cut = st.one_of(st.integers(1, size), st.sampled_from([*tables[1:], 2 * size]))
    kinds = (
        header_changes(values),
        table_changes(tables, values),
        flips(tables),
        st.builds(Copy, place, place, st.sampled_from([8, 72, 512, 4096])),
        st.builds(Cut, cut),
    )
    changes = draw(st.lists(st.one_of(kinds), min_size=1, max_size=6))
    return Damaged(name, tuple(changes))


@st.composite
def noise_behind_a_magic(draw: st.DrawFn) -> bytes:
    """A magic, a version and a cluster size that are known, and anything behind them."""
    version = draw(st.sampled_from([2, 3]))
    data = bytearray(draw(st.binary(min_size=0, max_size=2048)).ljust(104, b"\0"))
    data[:8] = b"QFI\xfb" + version.to_bytes(4, "big")
    data[20:24] = draw(st.integers(9, 21)).to_bytes(4, "big")
    if draw(st.booleans()):
        data[72:80] = draw(st.integers(0, 31)).to_bytes(8, "big")
    if draw(st.booleans()):
        # Tables in the file, and sizes that are not refused.
        for field in ("l1_table_offset", "refcount_table_offset", "snapshots_offset"):
            offset, width = HEADER_PLACES[field]
            data[offset : offset + width] = draw(st.sampled_from([0, 512, 1024])).to_bytes(8, "big")
        for field in ("l1_size", "refcount_table_clusters", "nb_snapshots"):
            offset, width = HEADER_PLACES[field]
            data[offset : offset + width] = draw(st.integers(0, 64)).to_bytes(4, "big")
    return bytes(data)


def hold_invariants(image: Image, result: CheckResult) -> None:
    """Everything that one result says agrees with the rest of it."""
    geometry = image.geometry
    for tree in result.trees:
        for table in (tree.l1, tree.l2):
            assert min(table.used, table.unused, table.unaligned, table.invalid) >= 0
            assert 0 <= table.compressed <= table.used
        if tree.examined:
            size = image.header.l1_size
            if tree.index is not None:
                size = image.snapshot_table.entries[tree.index].record.l1_size
            assert tree.l1.entries == size
            assert tree.l2.entries == tree.l1.used * geometry.l2_entries
    counts = result.refcounts
    assert min(counts.used, counts.unused, counts.error, counts.leak) >= 0
    assert 0 <= counts.rebuild <= counts.error
    hold_totals(result)


def hold_totals(result: CheckResult) -> None:
    """Totals, tallies and findings agree, and the verdict with them."""
    totals = Counter[Severity]()
    kept = Counter(finding.code for finding in result.findings)
    for code, tally in result.tallies.items():
        findings = [finding for finding in result.findings if finding.code == code]
        assert 0 <= kept[code] <= tally.places
        if findings:
            totals[findings[0].severity] += tally.count
        if kept[code] == tally.places:
            assert sum(finding.count for finding in findings) == tally.count, code
        else:
            assert result.omitted
    assert len(result.findings) + result.omitted == sum(t.places for t in result.tallies.values())
    if not result.omitted:
        assert totals[Severity.CORRUPTION] == result.statistics.corruptions
        assert totals[Severity.LEAK] == result.statistics.leaks
    ranks = [finding.severity.rank for finding in result.findings]
    assert ranks == sorted(ranks)
    if result.statistics.corruptions:
        assert result.verdict not in (Verdict.GOOD, Verdict.LEAK, Verdict.OTHER)
    if result.statistics.leaks:
        assert result.verdict is not Verdict.GOOD
    if result.verdict is Verdict.GOOD:
        assert {f.severity for f in result.findings} <= {Severity.NOTE}
        assert result.refusal is None
    assert result.triage.waste >= 0
    assert result.triage.orphans >= 0
    assert result.triage.waste + result.triage.orphans == result.statistics.leaks


def hold_report(image: Image, result: CheckResult) -> None:
    """The result can be shown, and safely."""
    checked = ImageChecked(image.name, result, 0.5)
    line = to_line(check_document(checked, image, int(result.verdict)))
    assert line.isascii()
    assert line.isprintable()
    for text in check_report(checked, image, TextOptions(errors=True, statistics=True)):
        assert text.isprintable(), text


def examine(data: bytes, *, deep: bool) -> None:
    """Check an image in memory, twice: once with room for every finding, once for hardly any."""
    try:
        image = Image(MemorySource(data), NeverLook())
        result = check(image, deep=deep, max_findings=1_000_000).result
        few = check(image, deep=deep, max_findings=2).result
    except Qcow2Error:
        return
    assert not result.omitted
    assert result.complete
    hold_invariants(image, result)
    hold_invariants(image, few)
    hold_report(image, few)
    assert few.statistics == result.statistics
    assert few.verdict == result.verdict
    assert len(few.findings) <= 2


# The same examples in every run; whoever looks for more lets hypothesis loose by hand.
ENOUGH = settings(
    max_examples=1000,
    derandomize=True,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


@ENOUGH
@given(damaged_images(), st.booleans())
def test_damaged_images(image: Damaged, deep: bool) -> None:
    examine(image.data(), deep=deep)


@ENOUGH
@given(noise_behind_a_magic(), st.booleans())
def test_noise(data: bytes, deep: bool) -> None:
    examine(data, deep=deep)


@ENOUGH
@given(st.binary(max_size=256))
def test_what_is_no_image(data: bytes) -> None:
    examine(data, deep=False)
