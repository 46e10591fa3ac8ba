"""Entries mended in place: the finding is gone, what the guest reads is not touched."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from qcow2_dump.planners.mapping.entries import mend_entries
from tests.builder.build import build
from tests.builder.built import BuiltImage
from tests.builder.spec import (
    ALL_ONES,
    BitmapSpec,
    Compressed,
    Data,
    ImageSpec,
    SnapshotSpec,
    Subclusters,
    ZeroAlloc,
)
from tests.builder.std import std_image
from tests.planners.drafts import drafted
from tests.support.qemu import qemu_check, qemu_to_raw, require_qemu

COPIED, COMPRESSED = 1 << 63, 1 << 62
CLUSTER = 0x10000
EXTENDED = ImageSpec(
    virtual_size=8 << 20,
    extended_l2=True,
    content={0: Data(1), 1: Compressed(2), 2: Subclusters(0x2), 3: ZeroAlloc(), 4: Data(5)},
)


def _or(l2_index: int, bits: int) -> Callable[[BuiltImage], None]:
    def damage(image: BuiltImage) -> None:
        at = image.l2_entry_offset(0, l2_index)
        image.poke(at, image.peek(at) | bits)

    return damage


def _l1(raw: int) -> Callable[[BuiltImage], None]:
    return lambda image: image.set_l1(0, image.peek(image.l1_entry_offset(0)) | raw)


def _std() -> BuiltImage:
    return std_image(content={0: Data(17), 1: Compressed(18, noise=700), 2: Data(19)})


def _extended() -> BuiltImage:
    return build(EXTENDED)


SAME = [
    ("l1.reserved", _std, _l1(1 << 62 | 1 << 56 | 0x1FF)),
    ("l2.reserved", _std, _or(0, 1 << 56)),
    ("l2.reserved", _std, _or(2, 0x1FE)),
    ("l2.reserved", _std, lambda image: image.set_l2(0, 9, 0x102)),
    ("l2.reserved", _extended, _or(2, 1 << 61)),
    ("l2.copied-no-offset", _std, lambda image: image.set_l2(0, 9, COPIED)),
    ("l2.copied-no-offset", _std, lambda image: image.set_l2(0, 9, COPIED | 1)),
    ("l2.bit0-extended", _extended, _or(0, 1)),
    ("l2.compressed-bitmap", _extended, lambda image: image.set_subclusters(0, 1, 0x3)),
    ("l2.compressed-copied", _std, _or(1, COPIED)),
    ("l2.compressed-copied", _extended, _or(1, COPIED)),
]


@pytest.mark.parametrize(("code", "make", "damage"), SAME)
def test_what_means_nothing_is_cleared(
    code: str, make: Callable[[], BuiltImage], damage: Callable[[BuiltImage], None], tmp_path: Path
) -> None:
    """The image is as it was before it was damaged, bit by bit."""
    require_qemu()
    image = make()
    damage(image)
    extra = code in ("l2.reserved", "l2.copied-no-offset") and image.peek(
        image.l2_entry_offset(0, 9)
    )
    done = drafted(image, tmp_path, mend_entries)
    assert done.before.has(code)
    assert done.result == []
    assert set(done.reasons) == {code}
    assert done.codes() == set()
    sound = make()
    expected = bytearray(sound.data.read(0, len(sound.data)))
    if extra:
        at = image.l2_entry_offset(0, 9)
        expected[at : at + 8] = (extra & 1).to_bytes(8, "big")
    assert done.data == bytes(expected)
    after = qemu_check(done.write_to(tmp_path / "after.qcow2"))
    assert (after.rc, after.count("corruptions")) == (0, 0)


def test_an_l1_entry_of_flags_is_cleared(tmp_path: Path) -> None:
    image = std_image()
    image.set_l1(0, COPIED)
    done = drafted(image, tmp_path, mend_entries)
    assert done.before.has("l1.no-offset", "l2.misread")
    assert not done.after.has("l1.no-offset", "l2.misread")
    (write,) = done.writes
    assert (write.reason, write.field.kind, write.field.first) == ("l1.no-offset", "l1", 0)
    assert done.data[write.offset : write.end] == bytes(8)


def test_a_useless_offset_goes(tmp_path: Path) -> None:
    """As `qemu-img check -r all` does it; the cluster that was meant becomes a leak."""
    require_qemu()
    image = std_image(content={0: Data(1), 1: ZeroAlloc()})
    at = image.l2_entry_offset(0, 1)
    image.poke(at, image.peek(at) + 0x200)
    done = drafted(image, tmp_path, mend_entries)
    assert done.before.has("l2.unaligned-zero")
    assert done.data[at : at + 8] == (1).to_bytes(8, "big")
    assert not done.after.has("l2.unaligned-zero")
    after = qemu_check(done.write_to(tmp_path / "after.qcow2"))
    assert (after.count("corruptions"), after.count("leaks")) == (0, 1)


def test_a_useless_offset_with_subclusters(tmp_path: Path) -> None:
    image = _extended()
    at = image.l2_entry_offset(0, 3)
    image.poke(at, image.peek(at) + 0x200)
    bitmap = image.peek(at + 8)
    done = drafted(image, tmp_path, mend_entries)
    assert set(done.reasons) == {"l2.unaligned-zero"}
    assert done.data[at : at + 16] == bytes(8) + bitmap.to_bytes(8, "big")


def test_the_compressed_flag_is_the_wrong_one(tmp_path: Path) -> None:
    """Without it the entry is what it was; bitmaps do not hold any more for the guest's reads."""
    require_qemu()
    bitmaps = (BitmapSpec("a"), BitmapSpec("b", table={0: ALL_ONES}))
    make = lambda: std_image(content={0: Data(17), 1: Data(18)}, bitmaps=bitmaps)  # noqa: E731
    image = make()
    _or(1, COMPRESSED)(image)
    done = drafted(image, tmp_path, mend_entries)
    assert done.result == []
    assert done.reasons == {"l2.compressed-wrong": 1, "bitmap.in-use": 1}
    assert done.codes() == {"bitmap.in-use"}
    sound = make()
    for bitmap in sound.places.bitmaps:
        sound.poke(bitmap.record + 12, 3, 4)
    assert done.data == sound.data.read(0, len(sound.data))
    path = done.write_to(tmp_path / "after.qcow2")
    assert qemu_check(path).rc == 0
    raw = qemu_to_raw(path, tmp_path / "raw").read_bytes()
    assert raw == sound.guest().read(0, 64 << 20)


def test_a_flag_that_nobody_can_judge_stays(tmp_path: Path) -> None:
    """The cluster has another claim: which of the two is right cannot be told."""
    image = std_image(content={0: Data(17), 1: Data(18)})
    _or(1, COMPRESSED)(image)
    image.set_l2(0, 2, image.active.data[1])
    done = drafted(image, tmp_path, mend_entries)
    assert not done.writes
    assert isinstance(done.result, list)
    assert "left as it is" in done.result[0]


def test_a_table_that_may_be_none_is_left(tmp_path: Path) -> None:
    """The L1 entry leads to guest data: to clear bits there would change the guest's disk."""
    image = std_image(virtual_size=2 << 30, content={0: Data(b"\x01" * 4096), 1: Data(2)})
    image.set_l1(1, COPIED | image.active.data[0])
    done = drafted(image, tmp_path, mend_entries)
    assert done.before.has("l2.reserved")
    assert not done.writes
    assert isinstance(done.result, list)
    assert "may be no table at all" in done.result[0]


def test_tables_of_snapshots_are_mended_once(tmp_path: Path) -> None:
    require_qemu()
    image = std_image(
        snapshots=(SnapshotSpec("1", "shares"), SnapshotSpec("2", "own", own_tables=True))
    )
    for layer in (0, 2):
        at = image.l2_entry_offset(0, 0, layer)
        image.poke(at, image.peek(at) | 1 << 57)
    done = drafted(image, tmp_path, mend_entries)
    assert done.reasons == {"l2.reserved": 2}
    assert done.codes() == set()
    assert qemu_check(done.write_to(tmp_path / "after.qcow2")).rc == 0


@settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    entries=st.dictionaries(
        st.integers(0, 63),
        st.integers(0, 2**64 - 1) | st.sampled_from([COPIED, 3, 1 << 56]),
        max_size=12,
    ),
    bitmap=st.integers(0, 2**64 - 1),
    extended=st.booleans(),
)
def test_any_entries(entries: dict[int, int], bitmap: int, extended: bool, tmp_path: Path) -> None:
    """Whatever a table holds, mending does not raise, changes the table only, and is done once."""
    image = build(
        ImageSpec(cluster_bits=14, virtual_size=4 << 20, extended_l2=extended, content={0: Data(1)})
    )
    for index, raw in entries.items():
        image.set_l2(0, index, raw)
        if extended:
            image.set_subclusters(0, index, bitmap)
    done = drafted(image, tmp_path, mend_entries)
    table = image.active.l2[0]
    for write in done.writes:
        assert table <= write.offset <= write.end <= table + (1 << 14)
    # What something else claims after the change may not have been claimed before: never less.
    again = image
    again.data.write(0, done.data)
    for code in ("l2.reserved", "l2.bit0-extended", "l2.copied-no-offset", "l2.unaligned-zero"):
        if not done.result:
            assert not done.after.has(code)
    assert not drafted(again, tmp_path, mend_entries).writes or done.result
