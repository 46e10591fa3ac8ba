"""`locate` against the refcounts that QEMU keeps, and against itself there and back."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from qcow2_dump.checks.owners.host_owners import HostLocation, locate_host
from qcow2_dump.checks.trees import trees_of
from qcow2_dump.errors import RequestError
from qcow2_dump.image.guest_tree import disk_end
from qcow2_dump.image.image import Image, open_image
from qcow2_dump.image.lookup import look_up
from qcow2_dump.ondisk.mapping import ClusterType
from qcow2_dump.operations.viewing_locate import locate_guest
from tests.builder.build import build
from tests.builder.sound_specs import SOUND_SPECS
from tests.builder.spec import BitmapSpec, Data, ImageSpec, SnapshotSpec
from tests.builder.std import std_image
from tests.corpus.base import Base
from tests.corpus.bases import BASES
from tests.corpus.cases import path_of
from tests.differential import map_oracle

SOUND = [base for base in BASES if not base.unclean]
SOME = 12


def clusters(image: Image, number: int) -> list[int]:
    """The first clusters of an image, and some others."""
    total = image.geometry.clusters(image.source.size)
    rng = random.Random(image.name.rsplit("/", 2)[-2])
    chosen = {*range(min(4, total)), total - 1}
    return sorted(chosen | {rng.randrange(total) for _ in range(number)})


@pytest.mark.parametrize("base", SOUND, ids=lambda base: base.name)
def test_what_is_counted_is_what_is_stored(base: Base) -> None:
    with open_image(path_of(base)) as image:
        for cluster in clusters(image, SOME):
            found = locate_host(image, cluster << image.geometry.cluster_bits)
            assert found.inside
            assert found.counted == found.stored.value
            assert found.claimants_total == len(found.claimants)
            assert bool(found.claimants) == bool(found.counted)
            assert_owners_are_right(image, found)


@pytest.mark.parametrize("name", [name for name in SOUND_SPECS if name != "far"])
def test_owners_in_images_that_qemu_does_not_create(name: str, tmp_path: Path) -> None:
    path = build(SOUND_SPECS[name]).write_to(tmp_path / "image.qcow2")
    with open_image(path) as image:
        for cluster in clusters(image, 4):
            found = locate_host(image, cluster << image.geometry.cluster_bits)
            assert found.counted == found.stored.value
            assert_owners_are_right(image, found)


def assert_owners_are_right(image: Image, found: HostLocation) -> None:
    """Whoever claims guest data is mapped there, in the trees named."""
    trees = {tree.label: tree for tree in trees_of(image)}
    cluster = found.stored.cluster
    for claimant in found.claimants:
        if claimant.kind not in ("data", "compressed"):
            continue
        assert claimant.guest_offset is not None
        for label in claimant.trees:
            looked = look_up(image, trees[label], claimant.guest_offset)
            packed = looked.type == ClusterType.COMPRESSED
            assert packed == (claimant.kind == "compressed")
            assert looked.host is not None
            assert looked.host_length is not None
            bits = image.geometry.cluster_bits
            last = (looked.host + looked.host_length - 1) >> bits
            assert looked.host >> bits <= cluster <= last


@pytest.mark.parametrize("base", SOUND, ids=lambda base: base.name)
def test_there_and_back(base: Base) -> None:
    """The host cluster of a guest offset names that offset, for every tree that has it there."""
    rng = random.Random(base.name)
    with open_image(path_of(base)) as image:
        size = image.geometry.cluster_size
        for _ in range(SOME):
            offset = rng.randrange(disk_end(trees_of(image)[0]))
            for group in locate_guest(image, offset).groups:
                if not group.refcounts:
                    continue
                host = locate_host(image, group.refcounts[0].cluster * size)
                kinds = {
                    claimant.kind: claimant
                    for claimant in host.claimants
                    if claimant.guest_offset == offset // size * size
                }
                owner = kinds.get("data") or kinds["compressed"]
                assert set(group.trees) <= set(owner.trees)
                assert group.refcounts[0].value == host.counted


@pytest.mark.parametrize("base", BASES, ids=lambda base: base.name)
def test_a_guest_offset_lies_where_qemu_img_maps_it(base: Base) -> None:
    path = path_of(base)
    theirs, complaint = map_oracle.their_map(path, encrypted=base.encrypted)
    assert theirs is not None, complaint
    rng = random.Random(base.name)
    with open_image(path) as image:
        for row in map_oracle.rows(theirs):
            offset = row["start"] + rng.randrange(row["length"])
            looked = locate_guest(image, offset).groups[0].lookup
            here = row["depth"] == 0
            assert row["present"] is (looked.type != ClusterType.UNALLOCATED) or not here
            if here and row["data"] and "offset" in row:
                byte = row["offset"] + offset - row["start"]
                assert looked.host_byte(image.geometry.cluster_size) == byte


def test_trees_that_differ_are_told_apart(tmp_path: Path) -> None:
    spec = ImageSpec(
        content={0: Data(1), 1: Data(2)},
        snapshots=(
            SnapshotSpec("1", "own", content={0: Data(3)}),
            SnapshotSpec("2", "same"),
            SnapshotSpec("3", "short", shared=frozenset(), l1_size=0, disk_size=0),
        ),
    )
    built = build(spec)
    with open_image(built.write_to(tmp_path / "image.qcow2")) as image:
        found = locate_guest(image, 0x123)
        assert [group.trees for group in found.groups] == [("active", "2"), ("1",)]
        assert found.outside == ("3",)
        active, own = (group.lookup for group in found.groups)
        assert active.host == built.active.data[0]
        assert own.host == built.snapshots[0].data[0]
        assert active.l2_place == built.l2_entry_offset(0, 0)
        assert own.l1_place == built.l1_entry_offset(0, layer=1)
        assert found.groups[0].refcounts[0].value == 2
        with pytest.raises(RequestError, match="past the end of the disk at 0x4000000"):
            locate_guest(image, 64 << 20)


def test_vm_state_is_found_behind_the_disk(tmp_path: Path) -> None:
    state = SnapshotSpec("1", "one", vm_state_size=1 << 16, content={8192: Data(9)})
    built = build(ImageSpec(snapshots=(state,)))
    with open_image(built.write_to(tmp_path / "image.qcow2")) as image:
        found = locate_guest(image, 8192 << 16)
        assert [group.trees for group in found.groups] == [("1",)]
        assert found.groups[0].lookup.host == built.snapshots[0].data[8192]


def test_every_claim_of_a_shared_cluster_is_named(tmp_path: Path) -> None:
    """Guest data on top of the L1 table: both are told, and that the counts disagree."""
    built = std_image()
    built.set_l2(0, 1, 1 << 63 | built.active.l1)
    with open_image(built.write_to(tmp_path / "image.qcow2")) as image:
        found = locate_host(image, built.active.l1 + 5)
        assert {claimant.kind for claimant in found.claimants} == {"l1", "data"}
        assert (found.stored.value, found.counted) == (1, 2)
        lost = locate_host(image, built.active.data[1])
        assert (lost.stored.value, lost.counted, lost.claimants) == (1, 0, ())


def test_counts_that_do_not_fit_a_byte(tmp_path: Path) -> None:
    """Three hundred guest clusters share one host cluster."""
    built = build(ImageSpec(content={0: Data(1)}))
    for index in range(1, 300):
        built.set_l2(0, index, built.active.data[0])
    with open_image(built.write_to(tmp_path / "image.qcow2")) as image:
        found = locate_host(image, built.active.data[0])
        assert (found.counted, found.claimants_total) == (300, 300)


def test_owners_are_named_by_the_field_that_leads_to_them(tmp_path: Path) -> None:
    """Each field named holds the offset of the structure, wherever that lies."""
    spec = ImageSpec(
        content={0: Data(1)},
        crypt_method=2,
        luks=bytes(600),
        bitmaps=(BitmapSpec("one"),),
        snapshots=(SnapshotSpec("1", "monday"),),
    )
    built = build(spec)
    places = built.places
    structures = {
        "refcount_table": places.refcount_table,
        "snapshot_table": places.snapshot_table,
        "bitmap_directory": places.bitmap_directory,
        "bitmap_table": places.bitmaps[0].table,
        "luks": places.luks,
        "l1": built.active.l1,
    }
    with open_image(built.write_to(tmp_path / "image.qcow2")) as image:
        named = {}
        for kind, start in structures.items():
            (owner,) = locate_host(image, start).claimants
            assert (owner.kind, built.peek(owner.offset)) == (kind, start)
            named[kind] = owner.offset
        assert (named["refcount_table"], named["snapshot_table"]) == (0x30, 0x40)
        (header,) = locate_host(image, 0).claimants
        assert (header.kind, header.offset) == ("header", 0)


def test_past_the_end_of_the_file(tmp_path: Path) -> None:
    built = std_image()
    with open_image(built.write_to(tmp_path / "image.qcow2")) as image:
        found = locate_host(image, len(built.data))
        assert not found.inside
        assert (found.stored.value, found.counted, found.claimants) == (0, 0, ())


def test_whoever_names_a_cluster_past_the_end_is_told(tmp_path: Path) -> None:
    far = 0x7F00_0000
    monday = SnapshotSpec("1", "monday", content={0: Data(3)})
    built = std_image(snapshots=(monday, SnapshotSpec("2", "lost")))
    built.set_l1(0, far, layer=1)
    built.set_l2(0, 1, 1 << 63 | far)
    built.poke(built.places.refcount_table + 24, far)
    built.poke(built.places.snapshot_records[1], far)
    with open_image(built.write_to(tmp_path / "image.qcow2")) as image:
        found = locate_host(image, far + 0x1234)
        owners = {claimant.kind: claimant for claimant in found.claimants}
        assert owners["l2"].offset == built.l1_entry_offset(0, layer=1)
        assert owners["data"].offset == built.l2_entry_offset(0, 1)
        assert owners["refcount_block"].offset == built.places.refcount_table + 24
        assert owners["l1"].offset == built.places.snapshot_records[1]
        assert (found.inside, found.counted, found.claimants_total) == (False, 0, 4)
        assert locate_host(image, far + 0x10000).claimants == ()
        assert locate_host(image, 1 << 62).claimants == ()
