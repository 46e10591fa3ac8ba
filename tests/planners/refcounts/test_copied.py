"""COPIED flags after a change: set only for one certain owner, cleared before anything else."""

from __future__ import annotations

import random
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from qcow2_dump.image.image import open_image
from qcow2_dump.plan.model import Field, Plan, Resize, Write
from qcow2_dump.planners.checked import check_for_planning
from qcow2_dump.planners.draft import Draft, Stage
from qcow2_dump.planners.finishing import Finisher
from qcow2_dump.planners.policy import CopiedPolicy, Policy
from tests.builder.build import build
from tests.builder.built import BuiltImage
from tests.builder.spec import (
    ALL_SUBCLUSTERS,
    Compressed,
    Data,
    ImageSpec,
    Layout,
    SnapshotSpec,
    Subclusters,
    ZeroAlloc,
    ZeroPlain,
)
from tests.planners.mending import mended

COPIED = 1 << 63
ALL = Policy(raise_low=True, rebuild=True, lower_waste=True, release=True)

PLAIN = ImageSpec(
    cluster_bits=12,
    virtual_size=1 << 20,
    content={0: Data(1), 1: Data(2), 2: ZeroAlloc(), 3: ZeroPlain()},
)
KINDS = (Data(1), Data(2), Data(3), ZeroAlloc(), ZeroPlain(), Compressed(7), None)
EXTENDED = replace(
    PLAIN, cluster_bits=14, extended_l2=True, content={0: Subclusters(1), 1: Subclusters(3)}
)


def entries(image: BuiltImage, data: bytes, count: int = 4) -> list[int]:
    """The first L2 entries of the active layer."""
    places = (image.l2_entry_offset(0, index) for index in range(count))
    return [int.from_bytes(data[place : place + 8], "big") for place in places]


def finished(image: BuiltImage, folder: Path, changes: dict[int, int], policy: Policy) -> Plan:
    """The plan that comes of some L2 entries of the active layer being changed."""
    path = image.write_to(folder / "t.qcow2")
    with open_image(path) as opened, closing(Draft(opened, "test")) as draft:
        found = check_for_planning(opened)
        for index, new in changes.items():
            place = image.l2_entry_offset(0, index)
            old = np.array([image.peek(place)], dtype=np.uint64)
            where = Field("l2", image.active.l2[0], 64, index)
            words = np.array([new], dtype=np.uint64)
            draft.put_words(Stage.SWITCH, place, old, words, where, "test")
        # The bytes of a plan go with its draft; only the order is looked at.
        return Finisher(found, policy, can_grow=True).finish(draft).plan


def order(plan: Plan) -> list[str]:
    return [step.reason for step in plan.steps if isinstance(step, Write | Resize)]


@pytest.mark.parametrize("spec", [PLAIN, EXTENDED], ids=["plain", "extended"])
@pytest.mark.parametrize("refcount_order", [0, 4, 6])
def test_flags_that_were_lost_come_back_and_wrong_ones_go(
    spec: ImageSpec, refcount_order: int, tmp_path: Path
) -> None:
    image = build(replace(spec, refcount_order=refcount_order))
    original = entries(image, image.data.read(0, len(image.data)))
    for index in (0, 1):
        image.set_l2(0, index, original[index] & ~COPIED)
    image.set_l1(0, image.active.l2[0])
    found = mended(image, tmp_path)
    assert found.reasons == {"copied.set": 3}
    assert entries(image, found.data) == original
    assert found.after.tallies == {}


@pytest.mark.parametrize("extended", [False, True], ids=["plain", "extended"])
@pytest.mark.parametrize("seed", range(3))
def test_wrong_flags_anywhere_in_many_tables_are_put_right(
    extended: bool, seed: int, tmp_path: Path
) -> None:
    """Among compressed clusters, clusters without data and holes, and in several tables."""
    kinds = (Subclusters(3), Subclusters(0), None) if extended else KINDS
    bits, count = (14, 1500) if extended else (9, 500)
    rng = random.Random(seed)
    content = {index: kind for index in range(count) if (kind := rng.choice(kinds)) is not None}
    size = count << bits
    image = build(
        ImageSpec(cluster_bits=bits, virtual_size=size, content=content, extended_l2=extended)
    )
    per_table = (1 << bits) // (16 if extended else 8)
    places = [image.l2_entry_offset(*divmod(index, per_table)) for index in sorted(content)]
    original = [image.peek(place) for place in places]
    owning = [at for at, entry in enumerate(original) if entry & COPIED]
    chosen = rng.sample(owning, len(owning) // 4)
    for at in chosen:
        image.poke(places[at], original[at] ^ COPIED)
    found = mended(image, tmp_path)
    assert found.reasons == {"copied.set": len(chosen)}
    assert [found.word(place) for place in places] == original


def test_a_flag_on_what_a_snapshot_has_as_well_goes(tmp_path: Path) -> None:
    image = build(replace(PLAIN, snapshots=(SnapshotSpec("1", "one", content={1: Data(9)}),)))
    shared, own = image.peek(image.l2_entry_offset(0, 0)), image.peek(image.l2_entry_offset(0, 1))
    assert own & COPIED
    image.set_l2(0, 0, shared | COPIED)
    found = mended(image, tmp_path)
    assert found.reasons == {"copied.clear": 1}
    assert entries(image, found.data, 2) == [shared, own]


def test_entries_without_a_cluster_have_no_flag_to_put_right(tmp_path: Path) -> None:
    image = build(PLAIN)
    assert mended(image, tmp_path).writes == []


@pytest.mark.parametrize("refcount_order", [0, 1, 2, 4])
def test_a_cluster_of_two_owners_never_gets_the_flag(refcount_order: int, tmp_path: Path) -> None:
    image = build(replace(PLAIN, refcount_order=refcount_order))
    for index in (0, 1):
        image.set_l2(0, index, image.active.data[0])
    found = mended(image, tmp_path)
    assert [entry & COPIED for entry in entries(image, found.data, 2)] == [0, 0]


def test_flags_of_a_data_file_do_not_depend_on_refcounts(tmp_path: Path) -> None:
    image = build(replace(PLAIN, cluster_bits=16, data_file="data.raw"))
    entry = image.peek(image.l2_entry_offset(0, 1))
    assert entry & COPIED
    image.set_l2(0, 1, entry & ~COPIED)
    found = mended(image, tmp_path)
    assert found.reasons == {"copied.set": 1}
    assert found.word(image.l2_entry_offset(0, 1)) == entry


def test_flags_stay_as_they_are_where_no_refcount_changes(tmp_path: Path) -> None:
    """Leaks alone were asked for, and there are none."""
    image = build(PLAIN)
    image.set_l2(0, 0, image.active.data[0])
    assert mended(image, tmp_path, leaks=True).writes == []


def test_a_flag_goes_before_a_second_owner_comes(tmp_path: Path) -> None:
    image = build(PLAIN)
    second = image.active.data[0]
    plan = finished(image, tmp_path, {5: second}, ALL)
    assert order(plan) == ["copied.clear", "refcount.raise", "test"]


def test_a_flag_comes_back_when_the_second_owner_has_gone(tmp_path: Path) -> None:
    image = build(PLAIN)
    image.set_l2(0, 0, image.active.data[0])
    image.set_l2(0, 5, image.active.data[0])
    image.set_refcount(image.active.data[0] >> 12, 2)
    plan = finished(image, tmp_path, {5: 0}, ALL)
    assert order(plan) == ["test", "refcount.lower", "copied.set"]


def test_a_flag_that_moves_to_another_cluster_is_cleared_and_set_again(tmp_path: Path) -> None:
    """In between it would stand on what others begin to refer to."""
    image = build(PLAIN)
    first, second = image.active.data[0], image.active.data[1]
    plan = finished(image, tmp_path, {0: second | COPIED, 1: first, 5: first}, ALL)
    reasons = order(plan)
    assert reasons[0] == "copied.clear"
    assert reasons.index("refcount.raise") < reasons.index("test") < reasons.index("copied.set")


def test_in_doubt_flags_are_only_cleared(tmp_path: Path) -> None:
    image = build(PLAIN)
    image.set_l2(0, 0, image.active.data[0])
    policy = replace(ALL, copied=CopiedPolicy.CLEAR_DOUBTFUL)
    plan = finished(image, tmp_path, {5: image.active.data[1]}, policy)
    assert order(plan) == ["copied.clear", "refcount.raise", "test"]


def test_a_flag_that_leads_past_the_end_goes_before_its_refcount(tmp_path: Path) -> None:
    """A block made anew has no refcounts behind the end of the file."""
    image = build(replace(PLAIN, layout=Layout(gap=1)))
    beyond = len(image.data) // 4096 + 1
    image.set_l2(0, 20, COPIED | beyond << 12)
    image.set_refcount(beyond, 1)
    image.set_l2(0, 21, image.places.refcount_blocks[0])
    found = mended(image, tmp_path)
    reasons = [write.reason for write in found.writes]
    assert "copied.clear" in reasons[: reasons.index("refcount.block-new")]
    assert found.word(image.l2_entry_offset(0, 20)) == beyond << 12


def test_no_flag_is_set_in_what_may_be_no_table(tmp_path: Path) -> None:
    """An L1 entry leads to guest data: bits that look like entries are the guest's."""
    image = build(PLAIN)
    guest = bytes(range(256)) * 16
    image.data.write(image.active.data[1], guest)
    image.set_l1(0, image.active.data[1] | COPIED)
    found = mended(image, tmp_path)
    place = image.active.data[1]
    assert found.data[place : place + len(guest)] == guest


def test_subclusters_keep_their_bitmaps(tmp_path: Path) -> None:
    image = build(replace(EXTENDED, content={0: Subclusters(ALL_SUBCLUSTERS), 1: Subclusters(5)}))
    for index in (0, 1):
        image.set_l2(0, index, image.active.data[index])
    found = mended(image, tmp_path)
    assert found.reasons == {"copied.set": 2}
    for index, bitmap in ((0, ALL_SUBCLUSTERS), (1, 5)):
        assert found.word(image.l2_entry_offset(0, index) + 8) == bitmap
