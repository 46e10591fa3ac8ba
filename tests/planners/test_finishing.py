"""What every change ends with: the flags of the header, a proof, and a prediction that holds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from qcow2_dump.checks.result import CheckResult
from qcow2_dump.errors import UnsafePlanError
from qcow2_dump.image.image import Image, open_image
from qcow2_dump.plan.model import Field, Plan
from qcow2_dump.plan.overlay import OverlaySource
from qcow2_dump.planners.checked import check_for_planning
from qcow2_dump.planners.draft import Draft, Stage
from qcow2_dump.planners.finishing import Finisher
from qcow2_dump.planners.policy import Policy
from qcow2_dump.planners.refcounts.proof import prove_refcounts
from tests.builder.build import build
from tests.builder.built import BuiltImage
from tests.builder.spec import Data, ImageSpec
from tests.planners.mending import mended

DIRTY, CORRUPT = 1, 2
COPIED = 1 << 63
INCOMPATIBLE, AUTOCLEAR = 72, 88
UNKNOWN_AUTOCLEAR = 1 << 40
BEYOND_SIZE = 40
SIZE = 4096

RELEASE = Policy(release=True)
RAISE = Policy(raise_low=True, rebuild=True)


def sound(
    *, flags: int = 0, autoclear: int = 0, backing: str | None = None, order: int = 4
) -> BuiltImage:
    return build(
        ImageSpec(
            cluster_bits=12,
            refcount_order=order,
            virtual_size=32 * SIZE,
            content={index: Data(17 + index) for index in range(8)},
            incompatible=flags,
            autoclear=autoclear,
            backing_name=backing,
            backing_format=None if backing is None else "raw",
        )
    )


def leak(image: BuiltImage) -> None:
    """A leak that nothing speaks for."""
    image.set_refcount(image.active.data[7] >> 12, 2)
    image.set_l2(0, 7, image.active.data[7])


def orphan(image: BuiltImage) -> None:
    """A leak that a damaged entry may have led to, in an image that stays damaged."""
    image.set_l2(0, 3, COPIED | image.active.data[3] | 0x200)


def beyond_size(image: BuiltImage) -> None:
    """No damage at all, only odd."""
    image.set_l2(0, BEYOND_SIZE, COPIED | image.active.data[7])
    image.set_l2(0, 7, 0)


def reserved(image: BuiltImage) -> None:
    """Damage that is mended."""
    image.set_l2(0, 2, image.peek(image.l2_entry_offset(0, 2)) | 2)


@pytest.mark.parametrize(
    ("damage", "left"),
    [
        (leak, 0),
        (reserved, 0),
        (beyond_size, 0),
        (orphan, DIRTY | CORRUPT),
    ],
)
def test_flags_go_when_nothing_speaks_for_them(
    damage: Callable[[BuiltImage], None], left: int, tmp_path: Path
) -> None:
    image = sound(flags=DIRTY | CORRUPT)
    damage(image)
    found = mended(image, tmp_path)
    assert found.word(INCOMPATIBLE) == left
    assert bool(found.corruptions) == bool(left)


def test_the_dirty_flag_goes_and_the_corrupt_flag_stays_while_orphans_are_kept(
    tmp_path: Path,
) -> None:
    """QEMU would repair a dirty image when it opens it, and free them."""
    image = sound(flags=DIRTY | CORRUPT)
    image.set_l2(0, 3, 0)
    image.set_l2(0, 4, COPIED)
    found = mended(image, tmp_path)
    assert found.corruptions == 0
    assert found.after.statistics.leaks == 2
    assert found.word(INCOMPATIBLE) == CORRUPT
    assert found.reasons["header.dirty"] == 1


def test_flags_that_are_all_that_is_left_go_by_themselves(tmp_path: Path) -> None:
    image = sound(flags=DIRTY | CORRUPT)
    found = mended(image, tmp_path)
    assert found.reasons == {"header.dirty": 1, "header.corrupt": 1}
    assert found.predicted is not None
    assert found.predicted.tallies == {}


@pytest.mark.parametrize("damage", [leak, lambda _: None], ids=["leak", "flag alone"])
def test_unknown_autoclear_bits_go_before_anything_else(
    damage: Callable[[BuiltImage], None], tmp_path: Path
) -> None:
    image = sound(flags=CORRUPT, autoclear=UNKNOWN_AUTOCLEAR)
    damage(image)
    found = mended(image, tmp_path)
    assert found.writes[0].reason == "header.autoclear"
    assert found.word(AUTOCLEAR) == found.word(INCOMPATIBLE) == 0


def test_nothing_to_do_does_not_clear_autoclear_bits(tmp_path: Path) -> None:
    assert mended(sound(autoclear=UNKNOWN_AUTOCLEAR), tmp_path).writes == []


def put_entry(draft: Draft, image: BuiltImage, index: int, new: int) -> None:
    place = image.l2_entry_offset(0, index)
    old, wanted = (np.array([word], dtype=np.uint64) for word in (image.peek(place), new))
    where = Field("l2", image.active.l2[0], 64, index)
    draft.put_words(Stage.SWITCH, place, old, wanted, where, "test")


def finish(
    image: BuiltImage, folder: Path, entries: dict[int, int], policy: Policy
) -> tuple[Counter[str], CheckResult | None, CheckResult]:
    """The reasons of the plan, the check that it promises, and that of what it comes to."""
    path = image.write_to(folder / "t.qcow2")
    with open_image(path) as opened, closing(Draft(opened, "test")) as draft:
        found = check_for_planning(opened)
        for index, new in entries.items():
            put_entry(draft, image, index, new)
        proposal = Finisher(found, policy, can_grow=True).finish(draft)
        after = Image(OverlaySource(opened.source, proposal.plan), opened.resolver)
        return proposal.plan.reasons(), proposal.after, check_for_planning(after).result


@pytest.mark.parametrize("order", [1, 4, 6])
def test_what_a_change_refers_to_twice_is_counted_twice(order: int, tmp_path: Path) -> None:
    image = sound(order=order)
    shared = image.active.data[0]
    reasons, promised, after = finish(image, tmp_path, {20: shared, 21: shared}, RELEASE)
    assert reasons["refcount.raise"] == 1
    assert promised is not None
    assert promised.tallies == after.tallies
    assert after.statistics.corruptions == after.statistics.leaks == 0


def test_what_a_change_gives_up_is_released(tmp_path: Path) -> None:
    reasons, _, after = finish(sound(), tmp_path, {0: 0, 1: 0}, RELEASE)
    assert reasons["refcount.lower"] == 2
    assert after.statistics.leaks == after.statistics.corruptions == 0


def test_without_leave_nothing_is_released(tmp_path: Path) -> None:
    reasons, _, after = finish(sound(), tmp_path, {0: 0, 1: 0}, Policy())
    assert "refcount.lower" not in reasons
    assert after.statistics.leaks == 2


def test_a_change_that_refers_to_what_a_refcount_cannot_hold_is_refused(tmp_path: Path) -> None:
    """Its refcount is in a block that cannot be written to, and nothing may be rebuilt."""
    image = sound()
    image.poke(image.places.refcount_table, image.places.refcount_blocks[0] | 1)
    with pytest.raises(UnsafePlanError, match="have to be repaired first"):
        finish(image, tmp_path, {20: image.active.data[0]}, RELEASE)


def proved(image: BuiltImage, folder: Path, plan: Callable[[Draft], Plan], changes: int) -> None:
    """Prove a plan that refers once more to some cluster at the end."""
    path = image.write_to(folder / "t.qcow2")
    with open_image(path) as opened, closing(Draft(opened, "test")) as draft:
        found = check_for_planning(opened)
        made = plan(draft)
        prove_refcounts(made, found, found, {found.facts.clusters: changes})


def test_a_new_cluster_without_a_refcount_is_not_let_through(tmp_path: Path) -> None:
    image = sound()

    def grown(draft: Draft) -> Plan:
        draft.grow(draft.new_size + SIZE)
        return draft.build()

    with pytest.raises(UnsafePlanError, match="1 references and a refcount of 0"):
        proved(image, tmp_path, grown, 1)
    proved(image, tmp_path, grown, 0)


def test_a_refcount_that_falls_below_the_references_is_not_let_through(tmp_path: Path) -> None:
    image = sound()

    def lowered(draft: Draft) -> Plan:
        block = image.places.refcount_blocks[0]
        at = block + 2 * (image.active.data[0] >> 12)
        draft.put(Stage.LOWER, at, bytes(2), Field("refcount_block", block, 16), "test")
        return draft.build()

    with pytest.raises(UnsafePlanError, match="1 references and a refcount of 0"):
        proved(image, tmp_path, lowered, 0)


def test_a_draft_is_built_anew_only_when_it_changed(tmp_path: Path) -> None:
    path = sound().write_to(tmp_path / "t.qcow2")
    with open_image(path) as opened, closing(Draft(opened, "test")) as draft:
        draft.put(Stage.NEW, 0x3000, b"one", Field("header", 0, 0), "test")
        first = draft.build()
        assert draft.build().steps == first.steps
        first.steps.clear()
        assert draft.build().steps
        draft.put(Stage.FLAGS, 0x3003, b"two", Field("header", 0, 0), "test")
        draft.grow(draft.new_size + SIZE)
        later = draft.build()
        assert [step.new.read() for step in later.writes()] == [b"one", b"two"]
        assert later.new_size == draft.new_size
