"""The worked examples of the check rules: damage to the standard image, and what must be found.

Each row was measured with qemu-img 7.2.22; ``test_std_examples`` measures it again, and the same
rows judge our own check. The id begins with the section of the rules that the row stands in.
"""

from tests.builder.build import build
from tests.builder.built import BuiltImage
from tests.builder.example import (
    Base,
    Example,
    aborted,
    bitmap_record,
    bitmap_table,
    both,
    count,
    cut,
    l1,
    l2,
    l2_bits,
    nothing,
    poke,
    record,
    refused,
    row,
    subclusters,
)
from tests.builder.spec import (
    BitmapSpec,
    Compressed,
    Content,
    Data,
    ImageSpec,
    Layout,
    SnapshotSpec,
    Subclusters,
)
from tests.builder.std import std_image

# -- bases ----------------------------------------------------------------------------------------

ONE = SnapshotSpec("1", "one")


def with_snapshot() -> BuiltImage:
    """Return STD after a snapshot: L1 of it in cluster 8, table in 9."""
    return std_image(snapshots=(ONE,))


def with_short_extra() -> BuiltImage:
    """Return STD with three snapshots, two of them with too little extra data for version 3."""
    short = (SnapshotSpec("2", "two", extra_length=8), SnapshotSpec("3", "three", extra_length=0))
    return std_image(snapshots=(ONE, *short))


def with_long_extra() -> BuiltImage:
    """Return STD with a snapshot record of more extra data than is allowed."""
    return std_image(snapshots=(SnapshotSpec("1", "one", extra_length=1025),))


def with_long_table() -> BuiltImage:
    """Return STD with snapshot records of 131 KiB each, together above 64 MiB."""
    name = "n" * 65535
    huge = SnapshotSpec(name, name, shared=frozenset(), l1_size=0, disk_size=0)
    return std_image(snapshots=(huge,) * 512)


def with_empty_snapshot() -> BuiltImage:
    """Return STD with a snapshot whose L1 has no entries at all."""
    return std_image(snapshots=(SnapshotSpec("1", "one", shared=frozenset(), l1_size=0),))


def with_bitmap(flags: int = 2) -> BuiltImage:
    """Return STD with one bitmap that has a cluster of data."""
    return std_image(bitmaps=(BitmapSpec("bits", flags=flags, table={0: b"\x07"}),))


def with_bitmap_in_use() -> BuiltImage:
    """Return STD with one bitmap that was not saved."""
    return with_bitmap(flags=1)


def data_then_compressed() -> BuiltImage:
    """Return a 0x70000 byte image: data in cluster 5, a compressed stream in 6."""
    return std_image(content={0: Data(17), 1: Compressed(17)})


def compressed_then_data() -> BuiltImage:
    """Return a 0x70000 byte image: a compressed stream in cluster 5, data in 6."""
    content = {0: Compressed(17), 1: Data(17)}
    return std_image(content=content, layout=Layout(place={"streams": 5}))


def data_compressed_data() -> BuiltImage:
    """Return an image whose data clusters 5 and 6 have a compressed one between them."""
    return std_image(content={0: Data(17), 1: Compressed(17), 2: Data(17)})


def two_streams() -> BuiltImage:
    """Return an image with two compressed streams packed into cluster 5."""
    return std_image(content={0: Compressed(17), 1: Compressed(18)})


def with_data_file() -> BuiltImage:
    """Return STD with its guest clusters in an external data file."""
    return std_image(data_file="std.raw")


def extended() -> BuiltImage:
    """Return an image with extended L2 entries: data, some subclusters, compressed."""
    content: dict[int, Content] = {0: Data(17), 1: Subclusters(0x2), 2: Compressed(17)}
    return build(ImageSpec(extended_l2=True, content=content, feature_table=True))


def width(order: int, clusters: int = 3) -> Base:
    """Return a base: STD with 2^order-bit refcounts and some guest clusters."""
    content = {guest: Data(17) for guest in range(clusters)}
    return lambda: std_image(refcount_order=order, content=content)


# -- rows -----------------------------------------------------------------------------------------


_SNAPSHOTS = [
    aborted("5.3 offset unaligned", poke(64, 0x200)),
    aborted("5.3 offset above 2^63", poke(64, 1 << 63)),
    aborted("5.3 too many snapshots", poke(60, 65537, 4), with_snapshot),
    aborted("5.3 extra data above 1024", nothing, with_long_extra),
    aborted("5.3 table above 64 MiB", nothing, with_long_table),
    row("5.3 two records with short extra data", nothing, with_short_extra, C=2),
    row("5.3 table beyond the end", poke(64, 0x80000000), with_snapshot, C=2, L=6),
    row("5.3 record L1 unaligned", record(0, 0x80200, 8), with_snapshot, C=1, L=5),
    row("5.3 record L1 too long", record(8, 4_194_305, 4), with_snapshot, C=1, L=5),
    aborted("5.3 record L1 unreadable", record(0, 0x7FFFFFFFFFFF0000, 8), with_snapshot),
    aborted("5.3 record L1 above 2^63", record(0, 1 << 63, 8), with_snapshot),
    row("5.3 record L1 larger", record(8, 2, 4), with_snapshot),
    row("5.3 record L1 empty", nothing, with_empty_snapshot),
    row(
        "5.3 snapshot with a data file",
        nothing,
        lambda: std_image(data_file="std.raw", snapshots=(ONE,)),
        C=1,
    ),
]

_BITMAPS = [
    row("6.3 sound", nothing, with_bitmap),
    row("6.3 table entry all ones", bitmap_table(1), with_bitmap, L=1),
    row("6.3 table entry all zeros", bitmap_table(0), with_bitmap, L=1),
    row("6.3 table beyond the end", bitmap_record(0, 0x80000000, 8), with_bitmap, C=1, L=2),
    row("6.3 data beyond the end", bitmap_table(0x80000000), with_bitmap, C=1, L=1),
    row("6.3 not to be trusted", poke(88, 0), with_bitmap, L=3),
    row("6.3 in use", bitmap_record(12, 1, 4), with_bitmap),
    row("6.3 in use, old table size", bitmap_record(8, 2, 4), with_bitmap_in_use),
    aborted("6.3 in use, bad table entry", bitmap_table(2), with_bitmap_in_use),
    refused("6.3 flags", bitmap_record(12, 4, 4), with_bitmap),
    refused("6.3 type", bitmap_record(16, 0, 1), with_bitmap),
    refused("6.3 granularity 8", bitmap_record(17, 8, 1), with_bitmap),
    refused("6.3 granularity 32", bitmap_record(17, 32, 1), with_bitmap),
    refused("6.3 table entry reserved bit", bitmap_table(2), with_bitmap),
    refused(
        "6.3 data offset with bit 0",
        lambda i: bitmap_table(i.places.bitmaps[0].data[0] | 1)(i),
        with_bitmap,
    ),
    refused("6.3 table size", bitmap_record(8, 2, 4), with_bitmap),
    refused("6.3 extra data", bitmap_record(20, 8, 4), with_bitmap),
]

_END_OF_FILE = [
    row("8.2 cut to 0x78000", cut(0x78000)),
    row("8.2 cut to 0x70001", cut(0x70001)),
    row("8.2 cut to 0x70000", cut(0x70000), C=1, end=0x70000),
    row("8.2 cut to 0x6fe01", cut(0x6FE01), C=1, end=0x70000),
    row("8.2 cut to 0x6fe00", cut(0x6FE00), C=1, end=0x70000),
    row("8.2 cut to 0x60000", cut(0x60000), C=2),
    row("8.2 cut to 0x50000", cut(0x50000), C=3),
    row("8.2 cut to 0x40000", cut(0x40000), C=1),
    row("8.2 cut to 0x30000", cut(0x30000), end=0x40000),
    row("8.2 cut to 0x20000", cut(0x20000), C=4),
    row("8.2 cut to 0x10000", cut(0x10000), C=3),
    row("8.2 data at the end", l2(1, 0x8000000000080000), C=2, L=1),
    row("8.2 data over the end", l2(1, 0x800000000007FE00), C=3, L=1, end=0x90000),
    row("8.2 L1 beyond the end", both(poke(40, 0x80000), cut(0x70000)), C=1, L=4),
    row("8.2 L1 near the end", both(poke(40, 0x80000), cut(0x70001)), C=1, L=5, end=0x90000),
]

_L1 = [
    row("8.3 reserved bit 0", l1(0x8000000000040001), C=1),
    row("8.3 reserved bit 62", l1(0xC000000000040000), C=1),
    row("8.3 L2 at the end", l1(0x8000000000080000), C=2, L=4),
    row("8.3 L2 is the L1", l1(0x8000000000030000), C=1, L=4, alloc=1),
    row("8.3 L2 unaligned", l1(0x8000000000040200), C=193, L=2),
    row("8.3 L2 is the header", l1(0x8000000000000000), C=45, L=4),
]

_L2 = [
    row("8.4 reserved bit 1", l2(1, 0x8000000000060002), C=1),
    row("8.4 reserved bit 56", l2(1, 0x8100000000060000), C=1),
    row("8.4 unallocated, reserved bit", l2(3, 2), C=1),
    row("8.4 unaligned data", l2(1, 0x8000000000060200), C=2, frag=2),
    row("8.4 unaligned, zero flag", l2(1, 0x8000000000060201), C=2),
    row("8.4 data in the header", l2(0, 0x8000000000000200), C=3, L=1),
    row("8.4 zero-allocated", l2(1, 0x8000000000060001)),
    row("8.4 zero-plain", l2(1, 1), L=1),
    row("8.4 COPIED without offset", l2(1, 0x8000000000000000), L=1),
    row("8.4 COPIED without offset, zero", l2(1, 0x8000000000000001), L=1),
    row("8.4 shared table, one finding per walk", l2(1, 0x60002), with_snapshot, C=2),
    row("8.4 compressed, COPIED", l2_bits(0, lambda e: e | 1 << 63), two_streams, C=1),
    row(
        "8.4 compressed, into the next",
        l2_bits(0, lambda e: e | 255 << 54),
        compressed_then_data,
        C=1,
    ),
    row(
        "8.4 compressed, beyond the end",
        l2_bits(1, lambda e: e | 255 << 54),
        data_then_compressed,
        C=1,
        L=1,
    ),
    row("8.9 compressed between data", nothing, data_compressed_data, alloc=3, comp=1, frag=1),
    row("8.4 data file, compressed", l2(1, 0x4000000000010000), with_data_file, C=1),
    row("8.4 data file, not COPIED", l2(1, 0x10000), with_data_file, C=1),
    row("8.4 data file, unaligned", l2(1, 0x8000000000010200), with_data_file, C=1),
    row("3.4 data file, wrong offset", l2(1, 0x8000000000050000), with_data_file),
    row("3.4 data file, bit lost", poke(72, 0), with_data_file, C=3),
    row("8.4 extended, data and zero", subclusters(0, 0x00000001FFFFFFFF), extended, C=1),
    row(
        "8.4 extended, bitmap without offset", both(l2(0, 0), subclusters(0, 1)), extended, C=1, L=1
    ),
    row("8.4 extended, compressed bitmap", subclusters(2, 1), extended, C=1, L=1),
    row("8.4 extended, bit 0", l2_bits(0, lambda e: e | 1), extended),
    row("8.4 extended, empty bitmap", subclusters(0, 0), extended),
    row("8.4 extended, only zero bits", subclusters(0, 0xFFFFFFFF00000000), extended),
]

_BLOCKS = [
    row("8.5 reserved bit", poke(0x10000, 0x20001), C=1, L=1),
    row("8.5 unaligned", poke(0x10000, 0x20200), C=1, E=8, end=0x10000),
    row("8.5 unaligned, reserved bit", poke(0x10000, 0x20201), C=1, E=8, end=0x10000),
    row("8.5 no block", poke(0x10000, 0), C=11),
    row("8.5 block at the end", poke(0x10000, 0x80000), C=12),
    row("8.5 bit 63", poke(0x10000, 0x8000000000020000), C=1, E=8),
    row("8.5 unreadable", poke(0x10000, 0x7FFFFFFFFFFF0000), C=1, E=8),
    row("8.5 second, reserved bit", poke(0x10008, 1), C=1),
    row("8.5 second, unaligned", poke(0x10008, 0x200), C=1),
    row("8.5 second at the end", poke(0x10008, 0x80000), C=1),
    row("8.5 second far away", poke(0x10008, 0x1000000000), C=1),
    row("8.5 second is the first", poke(0x10008, 0x20000), C=2),
    row("8.5 second is data", poke(0x10008, 0x50000), C=2),
    row("8.5 second is the L1", poke(0x10008, 0x30000), C=2),
    row("8.5 data is the block", l2(0, 0x8000000000020000), C=2, L=1),
    row("8.5 no table", poke(56, 0, 4), C=10),
    row("8.5 table beyond the end", poke(48, 0x800000), C=11),
    row("8.5 table over the block", poke(56, 2, 4), C=4),
]

_COMPARISON = [
    row("8.6 sound", nothing, end=0x80000, alloc=3, frag=0),
    row("8.6 leak", l2(1, 0), L=1),
    row("8.6 twice", l2(1, 0x8000000000050000), C=1, L=1, frag=2),
    row("8.6 L2 entry not COPIED", l2(1, 0x60000), C=1),
    row("8.6 L1 entry not COPIED", l1(0x40000), C=1),
    row("8.6 data 2", count(6, 2), C=1, L=1),
    row("8.6 data 3", count(6, 3), C=1, L=1),
    row("8.6 data 0", count(6, 0), C=2),
    *(row(f"8.6 cluster {k} 2", count(k, 2), L=1) for k in range(4)),
    row("8.6 L2 2", count(4, 2), C=1, L=1),
    row("8.6 block 0", count(2, 0), C=1),
    row("8.6 beyond the file, near", count(8, 1)),
    row("8.6 beyond the file, far", count(100, 1)),
    row("8.6 just inside the file", both(cut(0x80001), count(8, 1)), L=1),
    row(
        "8.6 one-bit overflow",
        both(l2(1, 0x8000000000050000), l2(2, 0x8000000000050000)),
        width(0),
        C=2,
        L=2,
    ),
    row(
        "8.6 two-bit overflow",
        both(*(l2(k, 0x8000000000050000) for k in (1, 2, 3))),
        width(1),
        C=2,
        L=2,
    ),
    row("8.6 shared L2 entry COPIED", l2(1, 0x8000000000060000), with_snapshot, C=1),
    row("8.6 shared L1 entry COPIED", l1(0x8000000000040000), with_snapshot, C=1),
    row("8.6 snapshot's L1 entry COPIED", l1(0x8000000000040000, layer=1), with_snapshot),
    row("8.6 snapshot's L1 entry not COPIED", l1(0x40000, layer=1), with_snapshot),
]

STD_EXAMPLES: list[Example] = [
    *_SNAPSHOTS,
    *_BITMAPS,
    *_END_OF_FILE,
    *_L1,
    *_L2,
    *_BLOCKS,
    *_COMPARISON,
]
