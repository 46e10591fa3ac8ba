"""Refcount blocks and tables that cannot be used: made anew, and nothing else is written to."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from qcow2_dump.planners.refcounts.targets import RefcountTargets, Stretch
from tests.builder.build import build
from tests.builder.built import BuiltImage
from tests.builder.spec import Data, ImageSpec, SnapshotSpec
from tests.planners.mending import Mended, mended

RESERVED_BIT = 1
TABLE_POINTER, TABLE_CLUSTERS = 48, 56
GUEST_CLUSTERS = 12

# Cluster bits and refcount order: the extremes of both, and what lies between.
GEOMETRIES = [(9, 0), (9, 6), (14, 3), (16, 4), (21, 6)]


def sound(cluster_bits: int = 16, refcount_order: int = 4) -> BuiltImage:
    return build(
        ImageSpec(
            cluster_bits=cluster_bits,
            refcount_order=refcount_order,
            virtual_size=64 << cluster_bits,
            content={index: Data(17 + index) for index in range(GUEST_CLUSTERS)},
        )
    )


def point_entry(image: BuiltImage, target: int, index: int = 0) -> None:
    image.poke(image.places.refcount_table + 8 * index, target)


def point_table(image: BuiltImage, target: int) -> None:
    image.poke(TABLE_POINTER, target)


def block(image: BuiltImage) -> int:
    return image.places.refcount_blocks[0]


def far(image: BuiltImage) -> int:
    return len(image.data) + (16 << image.spec.cluster_bits)


DAMAGES: dict[str, Callable[[BuiltImage], None]] = {
    "block missing": lambda image: point_entry(image, 0),
    "block unaligned": lambda image: point_entry(image, block(image) | RESERVED_BIT << 8 | 0x200),
    "block beyond the end": lambda image: point_entry(image, far(image)),
    "block in guest data": lambda image: point_entry(image, image.active.data[3]),
    "block in the table": lambda image: point_entry(image, image.places.refcount_table),
    "block used twice": lambda image: point_entry(image, block(image), index=1),
    "table beyond the end": lambda image: point_table(image, far(image)),
    "table in the header": lambda image: point_table(image, 0),
    "table unaligned": lambda image: point_table(image, image.places.refcount_table + 8),
    "table in the L1 table": lambda image: point_table(image, image.active.l1),
    "table of no clusters": lambda image: image.poke(TABLE_CLUSTERS, 0, 4),
    "table over other things": lambda image: image.poke(TABLE_CLUSTERS, 4, 4),
    "table larger than any": lambda image: image.poke(TABLE_CLUSTERS, 0xFFFFFFFF, 4),
}


def hits(found: Mended, places: Iterable[int], cluster_size: int) -> set[int]:
    """Which clusters, of those at some offsets, anything is written to."""
    clusters = {place // cluster_size for place in places}
    written = {
        cluster
        for write in found.writes
        for cluster in range(write.offset // cluster_size, -(-write.end // cluster_size))
    }
    return clusters & written


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize(("cluster_bits", "refcount_order"), GEOMETRIES)
def test_what_cannot_be_used_is_made_anew(
    cluster_bits: int, refcount_order: int, damage: str, tmp_path: Path
) -> None:
    image = sound(cluster_bits, refcount_order)
    DAMAGES[damage](image)
    found = mended(image, tmp_path)
    assert found.before.statistics.corruptions or found.before.statistics.check_errors
    assert found.corruptions == 0
    assert not found.again
    assert not hits(found, image.active.data.values(), image.spec.cluster_size)
    assert found.after.statistics.allocated_clusters == GUEST_CLUSTERS


@pytest.mark.parametrize("refcount_order", [0, 4, 6])
def test_stray_bits_are_no_reason_for_a_new_block(refcount_order: int, tmp_path: Path) -> None:
    image = sound(12, refcount_order)
    point_entry(image, block(image) | RESERVED_BIT)
    found = mended(image, tmp_path)
    assert found.reasons == {"refcount.table-entry": 1}
    assert found.corruptions == found.after.statistics.leaks == 0
    assert found.word(image.places.refcount_table) == block(image)


def test_a_table_in_use_up_to_its_last_entry_makes_room_for_new_blocks(tmp_path: Path) -> None:
    """The new block lies behind all clusters that the old table can tell of."""
    image = sound(9, 6)
    image.truncate(512 // 8 * image.spec.block_entries * 512)
    point_entry(image, 0)
    found = mended(image, tmp_path)
    assert found.corruptions == 0
    assert found.word(TABLE_CLUSTERS, 4) == 2
    assert found.notes == []


@pytest.mark.parametrize(("cluster_bits", "refcount_order"), [(16, 0), (21, 4)])
def test_a_missing_block_of_more_refcounts_than_are_read_at_once(
    cluster_bits: int, refcount_order: int, tmp_path: Path
) -> None:
    image = sound(cluster_bits, refcount_order)
    image.truncate((1 << 17 << cluster_bits) + (1 << 30))
    point_entry(image, 0)
    found = mended(image, tmp_path)
    assert found.corruptions == found.after.statistics.leaks == 0
    assert found.reasons["refcount.block-new"] == GUEST_CLUSTERS + 5


def test_blocks_that_nothing_needs_are_not_gone_through(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file of holes has them by the million."""
    image = sound(9, 4)
    image.truncate(512 << 22)
    image.set_refcount(image.active.data[0] // 512, 0)
    looked_at = []
    target_of = RefcountTargets.of

    def counted(targets: RefcountTargets, first: int, stored: Any) -> Stretch:
        looked_at.append(first)
        return target_of(targets, first, stored)

    monkeypatch.setattr(RefcountTargets, "of", counted)
    found = mended(image, tmp_path)
    assert found.reasons == {"refcount.raise": 1}
    assert max(looked_at) < 1 << 17


def test_a_block_that_guest_data_claims_as_well_is_left_to_the_guest(tmp_path: Path) -> None:
    image = sound()
    image.set_l2(0, 3, 1 << 63 | block(image))
    found = mended(image, tmp_path)
    assert found.corruptions == 0
    assert not hits(found, [block(image)], image.spec.cluster_size)
    assert found.word(image.places.refcount_table) != block(image)
    # Later checks must not take it for what is left of a block.
    assert found.replaced == ()


def test_an_old_table_that_is_given_up_is_named_for_later_checks(tmp_path: Path) -> None:
    image = sound(9, 6)
    image.truncate(512 // 8 * image.spec.block_entries * 512)
    point_entry(image, 0)
    table = image.places.refcount_table
    assert mended(image, tmp_path).replaced == ((table, table + 512),)


def test_doubtful_refcounts_are_carried_into_the_new_block(tmp_path: Path) -> None:
    """An L1 entry that leads nowhere speaks for the leaks: none of their refcounts is lost."""
    image = sound()
    image.set_l1(0, far(image))
    image.set_l2(0, 5, 0)
    point_entry(image, block(image), index=1)
    found = mended(image, tmp_path)
    assert found.after.statistics.leaks == found.before.statistics.leaks == GUEST_CLUSTERS + 1
    # That of the old block, which is given up.
    assert found.reasons["refcount.lower"] == 1


def test_where_nothing_may_be_rebuilt_a_bad_block_stays(tmp_path: Path) -> None:
    image = sound()
    point_entry(image, far(image))
    found = mended(image, tmp_path, leaks=True)
    assert found.writes == []


def test_the_refcounts_of_a_snapshot_are_those_of_the_new_block(tmp_path: Path) -> None:
    image = build(
        ImageSpec(
            cluster_bits=12,
            virtual_size=1 << 20,
            content={0: Data(1), 1: Data(2)},
            snapshots=(SnapshotSpec("1", "one", content={1: Data(3)}),),
        )
    )
    point_entry(image, 0)
    found = mended(image, tmp_path)
    assert found.corruptions == found.after.statistics.leaks == 0
    new = found.word(image.places.refcount_table)
    for cluster, refcount in image.places.refcounts.items():
        if cluster != block(image) >> 12:
            assert found.word(new + 2 * cluster, 2) == refcount
