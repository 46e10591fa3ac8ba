"""Shared clusters copied apart: nobody reads anything else, and nothing is shared any more."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from qcow2_dump.errors import UnsafePlanError
from qcow2_dump.planners.allocator import Allocator
from qcow2_dump.planners.checked import Checked
from qcow2_dump.planners.draft import Draft
from qcow2_dump.planners.mapping.private_copies import refuse_bound_data, separate_owners
from tests.builder.build import build
from tests.builder.built import BuiltImage
from tests.builder.spec import (
    BitmapSpec,
    Compressed,
    Data,
    ImageSpec,
    SnapshotSpec,
    ZeroAlloc,
)
from tests.builder.std import std_image
from tests.planners.drafts import Drafted, drafted
from tests.support.qemu import qemu_to_raw, require_qemu

COPIED = 1 << 63
SIZE = 0x10000
OFFSET = 0x00FF_FFFF_FFFF_FE00


def separate(draft: Draft, found: Checked) -> list[str]:
    refuse_bound_data(found)
    return separate_owners(draft, found, Allocator(draft, found, can_grow=True))


def seen(path: Path, *snapshots: str) -> list[bytes]:
    """What QEMU reads of an image and of some snapshots."""
    raw = path.with_suffix(".raw")
    return [qemu_to_raw(path, raw, name).read_bytes() for name in (None, *snapshots)]


def separated(image: BuiltImage, folder: Path, *snapshots: str) -> Drafted:
    """Separate; nothing is shared afterwards, and the guest reads what it read before."""
    require_qemu()
    before = seen(image.write_to(folder / "before.qcow2"), *snapshots)
    done = drafted(image, folder, separate)
    assert done.before.has("cluster.shared")
    assert not done.after.has("cluster.shared")
    assert seen(done.write_to(folder / "after.qcow2"), *snapshots) == before
    return done


def test_two_guest_addresses(tmp_path: Path) -> None:
    image = std_image(bitmaps=(BitmapSpec("a"),))
    shared = image.active.data[0]
    for index in (1, 7, 8000):
        image.set_l2(0, index, shared)
    end = len(image.data)
    done = separated(image, tmp_path)
    assert done.word(image.l2_entry_offset(0, 0)) & OFFSET == shared
    assert [done.word(image.l2_entry_offset(0, n)) for n in (1, 7, 8000)] == [
        end,
        end + SIZE,
        end + 2 * SIZE,
    ]
    assert done.reasons == {"reuse.data": 3, "reuse.entry": 3, "file.grow": 1, "bitmap.in-use": 1}
    assert done.result == [
        "Copied, so that each owner has its own: 3 clusters of 65,536 bytes in 3 ranges."
    ]


def test_more_than_a_finding_can_name(tmp_path: Path) -> None:
    """All claimants of all clusters, not the first thousand; runs are copied as runs."""
    content = {n: Data(n % 250 + 1) for n in range(1500)}
    image = build(ImageSpec(cluster_bits=9, virtual_size=4 << 20, content=content))
    for guest in range(1500):
        index, within = divmod(guest, 64)
        image.set_l2(index, within, image.active.data[guest % 10])
    done = separated(image, tmp_path)
    assert isinstance(done.result, list)
    assert "1,490 clusters of 512 bytes" in done.result[0]


def test_metadata_keeps_its_cluster(tmp_path: Path) -> None:
    image = std_image(
        snapshots=(SnapshotSpec("1", "s", content={0: Data(3)}),),
        bitmaps=(BitmapSpec("a", table={0: b"\x01"}),),
    )
    places = image.places
    claimed = [
        0x10000,
        image.active.l1,
        places.refcount_blocks[0],
        places.snapshot_table,
        places.bitmap_directory,
        places.bitmaps[0].data[0],
        image.active.l2[0],
    ]
    for index, offset in enumerate(claimed):
        image.set_l2(0, 20 + index, offset)
    done = separated(image, tmp_path, "1")
    for index, offset in enumerate(claimed):
        assert done.word(image.l2_entry_offset(0, 20 + index)) not in (0, offset)
    for place in (image.l1_entry_offset(0), image.l1_entry_offset(0, 1)):
        assert done.word(place) & OFFSET == image.peek(place) & OFFSET


def test_a_table_that_lies_on_metadata_moves(tmp_path: Path) -> None:
    image = std_image(virtual_size=2 << 30, content={0: Data(1), 5: Data(6)})
    block = image.places.refcount_blocks[0]
    image.set_l1(2, block)
    done = drafted(image, tmp_path, separate)
    moved = done.word(image.l1_entry_offset(2)) & OFFSET
    assert moved >= len(image.data)
    assert done.data[block : block + SIZE] == image.data.read(block, SIZE)


@pytest.mark.parametrize("extended", [False, True])
def test_a_table_at_several_indices(extended: bool, tmp_path: Path) -> None:
    """Each gets its own table, and each entry in it its own cluster."""
    spec = ImageSpec(
        cluster_bits=14,
        virtual_size=128 << 20,
        extended_l2=extended,
        content={0: Data(1), 3: Data(4), 5: ZeroAlloc(), 6: Compressed(9)},
    )
    image = build(spec)
    raw = image.peek(image.l1_entry_offset(0))
    image.set_l1(1, raw)
    image.set_l1(3, raw & OFFSET)
    done = separated(image, tmp_path)
    assert len({done.word(image.l1_entry_offset(n)) & OFFSET for n in (0, 1, 3)}) == 3
    # The two sharers of the zeros give theirs up; streams may share.
    assert isinstance(done.result, list)
    copied, given_up = done.result
    assert "4 clusters of 16,384 bytes in 3 ranges and 3 L2 tables" in copied
    assert "2 ranges that read as zeros" in given_up
    assert done.reasons["reuse.l1-entry"] == 3
    assert done.word(image.l1_entry_offset(1)) & COPIED == 0


def test_trees_that_share_an_address_go_on_sharing(tmp_path: Path) -> None:
    """The active layer and a snapshot have one claim; it moves for both."""
    image = std_image(
        content={n: Data(n + 1) for n in range(4)},
        snapshots=(
            SnapshotSpec("1", "own", own_tables=True),
            SnapshotSpec("2", "shared"),
            SnapshotSpec("3", "other", content={0: Data(99)}),
        ),
    )
    shared = image.active.data[0]
    for layer in (0, 1, 3):
        image.set_l2(0, 2, shared, layer)
    done = separated(image, tmp_path, "1", "2", "3")
    entries = {done.word(image.l2_entry_offset(0, 2, layer)) & OFFSET for layer in (0, 1, 3)}
    assert len(entries) == 1
    assert entries != {shared}
    assert done.reasons["reuse.data"] == 1


def test_sound_sharing_is_left(tmp_path: Path) -> None:
    image = std_image(snapshots=(SnapshotSpec("1", "a"), SnapshotSpec("2", "b", own_tables=True)))
    done = drafted(image, tmp_path, separate)
    assert (done.writes, done.result) == ([], [])


def test_streams_keep_what_data_claims(tmp_path: Path) -> None:
    image = std_image(content={0: Compressed(1, noise=900), 1: Compressed(2), 2: Data(3)})
    stream = image.active.data[0] & ~(SIZE - 1)
    image.set_l2(0, 5, stream)
    done = separated(image, tmp_path)
    assert done.word(image.l2_entry_offset(0, 0)) == image.peek(image.l2_entry_offset(0, 0))
    assert done.word(image.l2_entry_offset(0, 5)) == len(image.data)


def test_streams_leave_what_metadata_claims(tmp_path: Path) -> None:
    """Two entries with one stream go on sharing it."""
    bitmaps = (BitmapSpec("a", table={0: b"\x01"}),)
    image = std_image(content={0: Compressed(1, noise=900), 1: Data(2)}, bitmaps=bitmaps)
    entry = image.peek(image.l2_entry_offset(0, 0))
    at = image.active.data[0]
    image.set_l2(0, 9, entry)
    image.poke(image.places.bitmaps[0].table, at & ~(SIZE - 1))
    done = separated(image, tmp_path)
    moved = done.word(image.l2_entry_offset(0, 0))
    assert moved == done.word(image.l2_entry_offset(0, 9))
    assert moved != entry
    start = moved & ((1 << 54) - 1)
    assert start >= len(image.data)
    assert start % 512 == at % 512
    assert done.data[start : start + 900] == image.data.read(at, 900)


def test_zeros_give_way(tmp_path: Path) -> None:
    image = std_image(content={0: ZeroAlloc(), 1: Data(7)})
    image.set_l2(0, 0, image.active.data[1] | 1)
    done = separated(image, tmp_path)
    assert done.word(image.l2_entry_offset(0, 0)) == 1
    assert done.word(image.l2_entry_offset(0, 1)) & OFFSET == image.active.data[1]
    assert done.reasons == {"reuse.entry": 1}


def test_without_any_table(tmp_path: Path) -> None:
    """The L1 table lies where the refcount table does, and leads to no table at all."""
    image = std_image()
    image.poke(40, 0x10000)
    image.poke(0x10000, 0x20200)
    done = drafted(image, tmp_path, separate)
    assert done.before.has("cluster.shared")
    assert (done.writes, done.result) == ([], [])


def test_luks_is_refused(tmp_path: Path) -> None:
    image = build(ImageSpec(crypt_method=2, luks=bytes(4096), content={0: Data(1), 1: Data(2)}))
    image.set_l2(0, 1, image.active.data[0])
    with pytest.raises(UnsafePlanError, match="LUKS"):
        drafted(image, tmp_path, separate)


def test_a_data_file_has_nothing_to_copy(tmp_path: Path) -> None:
    image = build(ImageSpec(data_file="data.raw", content={0: Data(1), 1: Data(2)}))
    image.set_l2(0, 1, COPIED)
    done = drafted(image, tmp_path, separate)
    assert (done.writes, done.result) == ([], [])


def test_what_would_need_far_too_much_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = std_image()
    for index in range(3, 40):
        image.set_l2(0, index, image.active.data[0])
    monkeypatch.setattr("qcow2_dump.planners.mapping.copying._MOST_BYTES", 30 * SIZE)
    with pytest.raises(UnsafePlanError, match="copies of more than"):
        drafted(image, tmp_path, separate)


_HOSTS = st.integers(0, 30)


@settings(
    max_examples=15,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    entries=st.dictionaries(st.integers(0, 127), st.tuples(_HOSTS, st.booleans()), max_size=30),
    tables=st.lists(_HOSTS, max_size=3),
    own=st.booleans(),
)
def test_any_sharing(
    entries: dict[int, tuple[int, bool]], tables: list[int], own: bool, tmp_path: Path
) -> None:
    """Whatever is claimed twice, the content behind each entry is the same, and rounds end it."""
    image = build(
        ImageSpec(
            cluster_bits=12,
            virtual_size=16 << 20,
            content={n: Data(n + 1) for n in range(8)},
            snapshots=(SnapshotSpec("1", "s", own_tables=own),),
        )
    )
    # Nothing may lie past the end, or the file could not grow.
    clusters = len(image.data) // 4096 - 1
    for guest, (cluster, zero) in entries.items():
        image.set_l2(0, guest + 1, (cluster % clusters + 1) << 12 | zero)
    for index, cluster in enumerate(tables):
        image.set_l1(index + 1, (cluster % clusters + 1) << 12)
    wanted = _content(image.peek, image)
    for _ in range(4):
        done = drafted(image, tmp_path, separate)
        image.data.write(0, done.data)
        assert _content(image.peek, image) == wanted
        if not done.writes:
            break
    assert not done.writes


def _content(peek: Callable[[int], int], image: BuiltImage) -> list[bytes]:
    """What the entries of the active layer lead to, read as one who knows nothing of sharing."""
    found = []
    for index in range(4):
        table = peek(image.l1_entry_offset(index)) & OFFSET
        for within in range(512) if table else ():
            raw = peek(table + 8 * within)
            if not raw & 1 and raw & OFFSET and not raw & 1 << 62 and raw & 0xE00 == 0:
                found.append(image.data.read(raw & OFFSET, 4096))
            else:
                found.append(b"")
    return found
