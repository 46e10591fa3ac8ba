"""Sound images of many geometries, by name: what every reader and checker must call clean.

Built by ``test_builder`` and judged there by qemu-img; meant to be reused to judge our own check.
"""

from dataclasses import replace

from tests.builder.spec import (
    ALL_ONES,
    ALL_ZERO_SUBCLUSTERS,
    INCOMPRESSIBLE,
    BitmapSpec,
    Compressed,
    Content,
    Data,
    ImageSpec,
    Layout,
    SnapshotSpec,
    Subclusters,
    ZeroAlloc,
    ZeroPlain,
)
from tests.builder.std import STD_SPEC

KIB, MIB, GIB, TIB = 1 << 10, 1 << 20, 1 << 30, 1 << 40

MIXED: dict[int, Content] = {
    0: Data(1),
    1: ZeroAlloc(),
    2: ZeroPlain(),
    3: Compressed(4),
    5: Data(b"five"),
    6: Compressed(7, noise=300),
    7: INCOMPRESSIBLE,
    9: Compressed(10),
}
PLAIN: dict[int, Content] = {0: Data(1), 1: ZeroAlloc(), 2: ZeroPlain(), 5: Data(b"five")}
MANY: dict[int, Content] = {guest: Data(bytes([guest % 251 + 1])) for guest in range(5000)}
EXTENDED: dict[int, Content] = {
    0: Data(1),
    1: ZeroAlloc(),
    2: ZeroPlain(),
    3: Compressed(4),
    4: Subclusters(0x2),
    5: Subclusters(0x0000_0004_0000_0002, fill=6),
    6: Subclusters(0x7FFF_FFFF_8000_0000, fill=7),
    7: Subclusters(0x0000_0001_0000_0000),
    8: Subclusters(0, allocated=True),
    9: Subclusters(ALL_ZERO_SUBCLUSTERS, allocated=True),
}
COMPLETE = ImageSpec(
    content=MIXED,
    backing_format=None,
    feature_table=True,
    compatible=1 << 40,
    extensions=((0x12345678, b"unknown"), (0x12345679, b"")),
    snapshots=(
        SnapshotSpec("1", "first", vm_state_size=5 * GIB, content={8192 * 2: Data(8)}),
        SnapshotSpec("2", "second", content={0: Data(20), 11: Compressed(9)}),
        SnapshotSpec("3", "third", shared=frozenset({3, 5}), from_snapshot={11: 1}),
    ),
    bitmaps=(
        BitmapSpec("bits", table={0: b"\x0f"}),
        BitmapSpec("all", granularity_bits=9, table={0: ALL_ONES}),
    ),
)


def _sizes() -> dict[str, ImageSpec]:
    found = {}
    for bits in range(9, 22):
        last = (1 << bits) // 8 + 2
        size = (last + 3) << bits
        content: dict[int, Content] = {**MIXED, last: Data(b"last")}
        name = f"cluster-bits-{bits}"
        found[name] = ImageSpec(cluster_bits=bits, virtual_size=size, content=content)
    return found


def _refcounts() -> dict[str, ImageSpec]:
    found = {f"refcount-order-{k}": replace(STD_SPEC, refcount_order=k) for k in range(7)}
    tiny = ImageSpec(cluster_bits=9, virtual_size=4 * MIB, content=MANY)
    found |= {f"many-clusters-order-{k}": replace(tiny, refcount_order=k) for k in (0, 1, 4, 6)}
    found["one-bit-compressed"] = ImageSpec(
        refcount_order=0, content=MIXED, stream_alignment="cluster"
    )
    found["refcount-table-of-three-clusters"] = ImageSpec(
        cluster_bits=9,
        refcount_order=6,
        content=PLAIN,
        layout=Layout(place={"data/5": 2 * 64 * 64 + 7}),
    )
    found["refcount-table-longer-than-needed"] = replace(
        STD_SPEC,
        layout=Layout(refcount_table_clusters=4, refcount_blocks=frozenset({2, 3, 9000})),
    )
    found["refcount-block-behind-its-range"] = replace(
        tiny, layout=Layout(place={"rb/0": 9000, "rb/1": 8999, "rt": 1024})
    )
    return found


def _layouts() -> dict[str, ImageSpec]:
    tiny = ImageSpec(cluster_bits=9, virtual_size=4 * MIB, content=MANY)
    return {
        "reverse": replace(COMPLETE, layout=Layout("reverse")),
        "reverse-many-blocks": replace(tiny, layout=Layout("reverse", gap=1)),
        "shuffle": replace(COMPLETE, layout=Layout("shuffle", seed=1, gap=2)),
        "shuffle-many-blocks": replace(tiny, layout=Layout("shuffle", seed=2)),
        "far": ImageSpec(
            cluster_bits=21,
            virtual_size=2 * TIB,
            content={0: Data(b"near"), 1: Data(b"far"), 1 << 19: ZeroAlloc()},
            layout=Layout(place={"data/1": 1 << 20, "l2/0": 5 << 19, "l1": 3 << 20}),
        ),
    }


def _headers() -> dict[str, ImageSpec]:
    return {
        "std": STD_SPEC,
        "version-2": ImageSpec(
            version=2,
            content={0: Data(1), 1: Compressed(2), 3: Compressed(4, noise=9999)},
            snapshots=(SnapshotSpec("1", "one", extra_length=0, content={0: Data(7)}),),
        ),
        "header-104": replace(STD_SPEC, header_length=104),
        "header-extra": replace(STD_SPEC, header_extra=b"later" + bytes(11)),
        "unknown-bits": replace(STD_SPEC, compatible=1 << 40 | 1, autoclear=1 << 50),
        "extensions": replace(STD_SPEC, extensions=((0x7AFE0001, b"x" * 77), (0x7AFE0002, b""))),
        "no-content": ImageSpec(),
        "no-size": ImageSpec(virtual_size=0),
        "odd-size": ImageSpec(virtual_size=5 * 64 * KIB + 1536, content=PLAIN),
        "l1-of-many-clusters": ImageSpec(
            cluster_bits=9, virtual_size=8 * MIB, content={0: Data(1), 16383: Data(2)}
        ),
        "l1-longer-than-needed": ImageSpec(content=PLAIN, l1_size=20000),
        "empty-l2": ImageSpec(virtual_size=GIB, content=PLAIN, extra_l2=frozenset({0, 1})),
        "vm-state": ImageSpec(content={**PLAIN, 8192: Data(3), 5 * 8192 + 1: Data(b"vm")}),
    }


def _features() -> dict[str, ImageSpec]:
    return {
        "compressed-by-sector": ImageSpec(content=MIXED, stream_alignment="sector"),
        "compressed-512": ImageSpec(
            cluster_bits=9, virtual_size=MIB, content={g: Compressed(g, g * 7) for g in range(99)}
        ),
        "zstd": ImageSpec(content=MIXED, compression_type=1),
        "extended": ImageSpec(extended_l2=True, content=EXTENDED),
        "extended-16k": ImageSpec(extended_l2=True, cluster_bits=14, content=EXTENDED),
        "extended-2m": ImageSpec(extended_l2=True, cluster_bits=21, content=EXTENDED),
        "extended-snapshot": ImageSpec(
            extended_l2=True,
            content=EXTENDED,
            snapshots=(SnapshotSpec("1", "one", content={4: Subclusters(0x8)}),),
        ),
        "data-file": ImageSpec(data_file="std.raw", content=PLAIN),
        "bitmaps": ImageSpec(
            content=PLAIN,
            bitmaps=(
                BitmapSpec("some", table={0: b"\x01\x80"}),
                BitmapSpec("in-use", flags=1, table={0: b"\xff"}, entries=3),
                BitmapSpec("ones", granularity_bits=31, flags=0, table={0: ALL_ONES}),
            ),
        ),
        "bitmap-of-many-clusters": ImageSpec(
            cluster_bits=9,
            virtual_size=4 * MIB,
            bitmaps=(BitmapSpec("b", granularity_bits=9, table={0: b"\x01", 1: b"\x02"}),),
        ),
    }


def _snapshots() -> dict[str, ImageSpec]:
    one = SnapshotSpec("1", "one")
    tables = {guest * 8192: Data(bytes([guest + 1])) for guest in range(4)}
    return {
        "complete": COMPLETE,
        "snapshot": replace(STD_SPEC, snapshots=(one,)),
        "snapshot-own-tables": replace(STD_SPEC, snapshots=(replace(one, own_tables=True),)),
        "snapshot-own-content": replace(
            STD_SPEC, snapshots=(replace(one, content={0: Data(9)}, shared=frozenset()),)
        ),
        "snapshot-some-tables-shared": ImageSpec(
            virtual_size=2 * GIB,
            content=tables,
            snapshots=(
                replace(one, content={8192: Data(9)}),
                SnapshotSpec("2", "two", content={3 * 8192: ZeroAlloc()}, from_snapshot={8192: 0}),
            ),
        ),
        "snapshot-smaller": ImageSpec(
            virtual_size=2 * GIB,
            content=tables,
            snapshots=(replace(one, shared=frozenset({0}), disk_size=GIB // 4),),
        ),
        "snapshot-larger": replace(
            STD_SPEC,
            snapshots=(replace(one, content={8192 * 9: Data(b"9")}, disk_size=8 * GIB),),
        ),
        "snapshot-l1-empty": replace(
            STD_SPEC, snapshots=(replace(one, shared=frozenset(), l1_size=0, disk_size=0),)
        ),
        "snapshot-extra-long": replace(
            STD_SPEC, snapshots=(replace(one, extra_length=16), replace(one, extra_length=1024))
        ),
        "snapshots-many": ImageSpec(
            cluster_bits=9,
            virtual_size=MIB,
            content=MIXED,
            snapshots=tuple(SnapshotSpec(str(n), "n" * n) for n in range(40)),
        ),
    }


SOUND_SPECS: dict[str, ImageSpec] = {
    **_headers(),
    **_sizes(),
    **_refcounts(),
    **_layouts(),
    **_features(),
    **_snapshots(),
}
