"""Repairs as a whole: round after round, what is done when not all can be, what people are told."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.builder.build import build
from tests.builder.built import BuiltImage
from tests.builder.spec import Data, ImageSpec
from tests.planners.mending import mended

COPIED = 1 << 63
CORRUPT = 2
INCOMPATIBLE = 79
BEYOND_SIZE = 40
L1_POINTER = 40


def sound(
    cluster_bits: int = 12, refcount_order: int = 4, *, incompatible: int = 0, clusters: int = 8
) -> BuiltImage:
    return build(
        ImageSpec(
            cluster_bits=cluster_bits,
            refcount_order=refcount_order,
            virtual_size=max(32, clusters) << cluster_bits,
            content={index: Data(17 + index) for index in range(clusters)},
            incompatible=incompatible,
        )
    )


def lose(image: BuiltImage, index: int) -> None:
    """Take a cluster of guest data out of its table: its refcount leaks."""
    image.set_l2(0, index, 0)


def test_a_sound_image_is_left_alone(tmp_path: Path) -> None:
    found = mended(sound(), tmp_path)
    assert found.writes == []
    assert found.notes == []
    assert found.predicted is found.before


def test_leaks_alone_are_lowered_and_nothing_else(tmp_path: Path) -> None:
    image = sound()
    image.set_refcount(image.active.data[0] >> 12, 3)
    image.set_l2(0, 2, image.active.data[2])
    found = mended(image, tmp_path, leaks=True)
    assert found.reasons == {"refcount.lower": 1, "copied.set": 1}
    assert found.after.statistics.leaks == found.corruptions == 0


def test_errors_alone_leave_leaks(tmp_path: Path) -> None:
    image = sound()
    image.set_refcount(image.active.data[0] >> 12, 3)
    image.set_refcount(image.active.data[1] >> 12, 0)
    found = mended(image, tmp_path, errors=True)
    assert found.corruptions == 0
    assert found.after.statistics.leaks == 1
    assert "refcount.lower" not in found.reasons


def test_leaks_that_were_kept_stay_kept_through_all_rounds(tmp_path: Path) -> None:
    """The first round takes away what spoke for them; the corrupt flag stays for their sake."""
    image = sound(incompatible=CORRUPT)
    lose(image, 3)
    image.set_l2(0, 4, COPIED)
    image.set_l2(0, BEYOND_SIZE, COPIED | image.active.data[4])
    found = mended(image, tmp_path)
    lost = image.active.data[3]
    assert found.before.triage.orphans == 1
    assert found.kept == ((lost, lost + 4096),)
    assert found.predicted is not None
    assert found.predicted.triage.orphans == 1
    assert found.data[INCOMPATIBLE] == CORRUPT
    assert any("may hold guest data and will not be freed" in note for note in found.notes)
    assert not found.again


def test_asked_for_explicitly_even_doubtful_leaks_go(tmp_path: Path) -> None:
    image = sound()
    lose(image, 3)
    image.set_l2(0, 4, COPIED)
    found = mended(image, tmp_path, leaks=True, errors=True, free_orphans=True)
    assert found.after.statistics.leaks == found.corruptions == 0
    assert found.notes == []
    assert found.kept == ()


def test_what_needs_no_room_is_mended_where_there_is_none(tmp_path: Path) -> None:
    """A device without a free cluster: no new block, but what can be raised is raised."""
    image = sound(cluster_bits=9, refcount_order=6, clusters=70)
    image.poke(image.places.refcount_table + 8, 0)
    image.set_refcount(image.active.data[0] >> 9, 0)
    found = mended(image, tmp_path, can_grow=False)
    assert any(note.startswith("Not all can be mended: there is no room") for note in found.notes)
    assert found.grown == 0
    assert set(found.reasons) == {"refcount.raise", "copied.clear"}
    assert found.reasons["refcount.raise"] == 1
    assert found.corruptions < found.before.statistics.corruptions


def test_the_file_grows_only_when_what_leads_there_is_gone(tmp_path: Path) -> None:
    """Until then the new block would be guest data that was never there."""
    image = sound()
    image.set_l2(0, 20, COPIED | len(image.data))
    image.poke(image.places.refcount_table, 0)
    found = mended(image, tmp_path, leaks=True, errors=True, drop_unusable=True)
    reasons = [write.reason for write in found.writes]
    assert reasons.index("l2.dropped") < reasons.index("refcount.block-new")
    assert found.corruptions == 0
    assert not any(note.startswith("Not all") for note in found.notes)


@pytest.mark.parametrize("order", [0, 1, 2])
def test_refcounts_in_the_same_byte_behind_the_end_stay(order: int, tmp_path: Path) -> None:
    image = sound(refcount_order=order)
    last = len(image.data) // 4096 - 1
    assert (last + 1) % (8 >> order)
    image.set_refcount(last, 0)
    image.set_refcount(last + 1, 1)
    found = mended(image, tmp_path)
    assert set(found.reasons) == {"refcount.raise"}
    assert found.corruptions == 0
    assert "refcount.beyond-end" in found.after.tallies


def test_two_owners_of_a_cluster_whose_refcount_holds_no_more_are_not_let_write(
    tmp_path: Path,
) -> None:
    """A refcount of one bit cannot tell two owners from one."""
    image = sound(refcount_order=0)
    shared = image.active.data[0]
    for index in (0, 1):
        image.set_l2(0, index, shared)
    found = mended(image, tmp_path)
    assert "copied.set" not in found.reasons
    assert found.word(image.l2_entry_offset(0, 0)) == shared


def test_streams_that_do_not_decode_are_not_forgotten_after_the_repair(tmp_path: Path) -> None:
    image = sound(incompatible=CORRUPT)
    image.set_l2(0, 5, 1 << 62 | image.active.data[5])
    image.set_l2(0, 2, image.active.data[2])
    found = mended(image, tmp_path, errors=True, leaks=True, deep=True)
    assert "l2.stream" in found.before.tallies
    assert found.predicted is not None
    assert "l2.stream" in found.predicted.tallies
    assert found.data[INCOMPATIBLE] == CORRUPT


@pytest.mark.parametrize("order", [0, 2, 4, 6])
def test_the_prediction_is_what_then_is(order: int, tmp_path: Path) -> None:
    image = sound(cluster_bits=9, refcount_order=order)
    image.poke(image.places.refcount_table, 0)
    image.set_l2(0, 2, image.active.data[2])
    found = mended(image, tmp_path)
    assert found.predicted is not None
    assert found.predicted.statistics == found.after.statistics
    assert found.predicted.tallies == found.after.tallies
    assert found.predicted.verdict == found.after.verdict


def test_a_repair_of_a_copy_in_pieces_comes_to_the_same(tmp_path: Path) -> None:
    """Errors first and leaks afterwards, or both at once."""
    (tmp_path / "one").mkdir()
    image = sound()
    image.set_refcount(image.active.data[0] >> 12, 5)
    image.set_refcount(image.active.data[1] >> 12, 0)
    whole = mended(image, tmp_path)
    first = mended(image, tmp_path, errors=True)
    path = tmp_path / "one" / "t.qcow2"
    path.write_bytes(first.data)
    assert mended(path, tmp_path, leaks=True).data == whole.data


def test_nothing_is_tried_again_where_nothing_can_be_given_up(tmp_path: Path) -> None:
    """The header reads as an L2 table, and guest data lies in the L1 table: neither is unusable.

    Each repair would move the refcount table once more, and leave the old one behind.
    """
    image = build(
        ImageSpec(cluster_bits=9, virtual_size=1 << 17, content={0: Data(1), 64: Data(2)})
    )
    image.set_l1(2, COPIED)
    image.set_l2(0, 10, image.peek(L1_POINTER))
    found = mended(image, tmp_path, leaks=True, errors=True, drop_unusable=True)
    assert not found.again
