"""Unusable entries made unallocated: what is lost is listed, and nothing else changes."""

from __future__ import annotations

from pathlib import Path

import pytest

from qcow2_dump.planners.mapping.unusable import Dropped, drop_unusable
from qcow2_dump.planners.proposal import GuestLoss
from tests.builder.build import build
from tests.builder.spec import BitmapSpec, Compressed, Data, ImageSpec, SnapshotSpec, Subclusters
from tests.builder.std import std_image
from tests.planners.drafts import Drafted, drafted
from tests.support.qemu import qemu_check, qemu_to_raw, require_qemu

COPIED = 1 << 63
SIZE = 0x10000
FAR = 1 << 40


def lost(done: Drafted) -> list[tuple[int, int, tuple[str, ...]]]:
    assert isinstance(done.result, Dropped)
    assert all("leads" in loss.why for loss in done.result.losses)
    return [(loss.offset, loss.length, loss.trees) for loss in done.result.losses]


@pytest.mark.parametrize("raw", [COPIED | FAR, COPIED | 0x60200, FAR, 0x60000000060000])
def test_an_l2_entry(raw: int, tmp_path: Path) -> None:
    require_qemu()
    image = std_image()
    image.set_l2(0, 1, raw)
    done = drafted(image, tmp_path, drop_unusable)
    assert lost(done) == [(SIZE, SIZE, ("active",))]
    assert done.reasons == {"l2.dropped": 1}
    assert done.codes() == {"refcount.leak"}
    path = done.write_to(tmp_path / "after.qcow2")
    assert qemu_check(path).count("corruptions") == 0
    expected = bytearray(std_image().guest().read(0, 64 << 20))
    expected[SIZE : 2 * SIZE] = bytes(SIZE)
    assert qemu_to_raw(path, tmp_path / "raw").read_bytes() == bytes(expected)


@pytest.mark.parametrize("raw", [COPIED | FAR, COPIED | 0x40200, 0x4000000000])
def test_an_l1_entry(raw: int, tmp_path: Path) -> None:
    image = std_image(virtual_size=(2 << 30) + 5 * SIZE, content={0: Data(1), 8192: Data(2)})
    image.set_l1(0, raw)
    image.set_l1(4, raw + SIZE)
    done = drafted(image, tmp_path, drop_unusable)
    # The last range ends with the disk.
    assert lost(done) == [(0, 512 << 20, ("active",)), (2 << 30, 5 * SIZE, ("active",))]
    assert done.reasons == {"l1.dropped": 2}
    assert not done.after.has("l1.unaligned", "l1.beyond-end", "l2.misread")
    assert done.word(image.l1_entry_offset(1)) == image.peek(image.l1_entry_offset(1))


def test_what_holds_no_data_is_no_loss(tmp_path: Path) -> None:
    """It keeps on reading as zeros, although a backing file might show otherwise."""
    image = std_image(bitmaps=(BitmapSpec("a"),))
    image.set_l2(0, 1, COPIED | FAR | 1)
    done = drafted(image, tmp_path, drop_unusable)
    assert lost(done) == []
    assert done.reasons == {"l2.dropped-zero": 1}
    assert done.word(image.l2_entry_offset(0, 1)) == 1


def test_subclusters_of_zeros_stay(tmp_path: Path) -> None:
    zeros = 0x0000_00F0_0000_0000
    content = {0: Subclusters(zeros | 0x3), 1: Compressed(3), 2: Subclusters(zeros, allocated=True)}
    image = build(ImageSpec(virtual_size=4 << 20, extended_l2=True, content=content))
    for index in (0, 2):
        at = image.l2_entry_offset(0, index)
        image.poke(at, image.peek(at) + FAR)
    image.set_l2(0, 1, 1 << 62 | FAR)
    done = drafted(image, tmp_path, drop_unusable)
    assert lost(done) == [(0, 2 * SIZE, ("active",))]
    assert done.reasons == {"l2.dropped": 2, "l2.dropped-zero": 1}
    words = [done.word(image.l2_entry_offset(0, 0) + 8 * n) for n in range(6)]
    assert words == [0, zeros, 0, 0, 0, zeros]


def test_the_trees_that_lose_it_are_named_and_bitmaps_marked(tmp_path: Path) -> None:
    image = std_image(
        virtual_size=64 << 20,
        snapshots=(SnapshotSpec("7", "shares"), SnapshotSpec("8", "own", own_tables=True)),
        bitmaps=(BitmapSpec("a", flags=0),),
    )
    image.set_l2(0, 0, FAR)
    image.set_l2(0, 2, FAR)
    image.set_l2(0, 1, FAR, layer=2)
    done = drafted(image, tmp_path, drop_unusable)
    assert sorted(lost(done)) == [
        (0, SIZE, ("active", "7")),
        (SIZE, SIZE, ("8",)),
        (2 * SIZE, SIZE, ("active", "7")),
    ]
    assert done.reasons == {"l2.dropped": 3, "bitmap.in-use": 1}
    assert done.word(image.places.bitmaps[0].record + 12, 4) == 1


def test_ranges_that_follow_each_other_are_one(tmp_path: Path) -> None:
    image = std_image(virtual_size=2 << 30, content={0: Data(1), 8191: Data(2), 8192: Data(3)})
    for l1_index, l2_index in ((0, 8190), (0, 8191), (1, 0), (1, 1)):
        image.set_l2(l1_index, l2_index, FAR)
    done = drafted(image, tmp_path, drop_unusable)
    assert lost(done) == [(8190 * SIZE, 4 * SIZE, ("active",))]


def test_the_first_thousand_are_listed_and_all_are_counted(tmp_path: Path) -> None:
    image = std_image(virtual_size=512 << 20)
    for index in range(0, 8192, 2):
        image.set_l2(0, index, FAR)
    done = drafted(image, tmp_path, drop_unusable)
    assert isinstance(done.result, Dropped)
    assert (len(done.result.losses), done.result.losses_total) == (1000, 4096)
    assert done.result.losses[999] == GuestLoss(
        1998 * SIZE, SIZE, ("active",), "the L2 entry leads past the end of the file"
    )
    # One stretch of the table, not a step for each entry.
    assert len(done.writes) == 1
    assert not done.after.has("l2.beyond-end")


def test_a_table_at_several_places_loses_several_ranges(tmp_path: Path) -> None:
    image = std_image(virtual_size=2 << 30)
    table = image.peek(image.l1_entry_offset(0))
    image.set_l1(2, table)
    image.set_l2(0, 5, FAR)
    done = drafted(image, tmp_path, drop_unusable)
    assert lost(done) == [
        (5 * SIZE, SIZE, ("active",)),
        ((1 << 30) + 5 * SIZE, SIZE, ("active",)),
    ]


def test_a_sound_image_has_nothing_to_drop(tmp_path: Path) -> None:
    done = drafted(std_image(), tmp_path, drop_unusable)
    assert (done.writes, lost(done)) == ([], [])


def test_entries_of_what_may_be_no_table_are_left(tmp_path: Path) -> None:
    image = std_image(virtual_size=2 << 30, content={0: Data(b"\x00\x10" * 2048), 1: Data(2)})
    image.set_l1(1, COPIED | image.active.data[0])
    done = drafted(image, tmp_path, drop_unusable)
    assert done.writes == []
    assert isinstance(done.result, Dropped)
    assert "may be no table at all" in done.result.notes[0]


def test_what_is_no_table_is_left_alone(tmp_path: Path) -> None:
    """An L1 entry leads to guest data, most of which makes no sense as entries."""
    image = std_image(content={0: Data(0x12)})
    image.set_l1(0, COPIED | 5 * SIZE)
    done = drafted(image, tmp_path, drop_unusable)
    assert done.writes == []
    assert isinstance(done.result, Dropped)
    assert "8,192 unusable entries are left as they are" in done.result.notes[0]


def test_all_of_a_table_may_lead_past_the_end(tmp_path: Path) -> None:
    """As in a file that was cut short: its entries are lost, but it is a table."""
    image = std_image(content={number: Data(1) for number in range(20)})
    for number in range(20):
        image.set_l2(0, number, COPIED | (FAR + number * SIZE))
    done = drafted(image, tmp_path, drop_unusable)
    assert lost(done) == [(0, 20 * SIZE, ("active",))]
    assert done.reasons == {"l2.dropped": 20}
