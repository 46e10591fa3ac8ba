"""Room for new structures: at the end of the file, or where certainly nothing is."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from qcow2_dump.errors import UnsafePlanError
from qcow2_dump.image.image import open_image
from qcow2_dump.planners import allocator as module
from qcow2_dump.planners.allocator import Allocator
from qcow2_dump.planners.checked import check_for_planning
from qcow2_dump.planners.draft import Draft
from tests.builder.build import build
from tests.builder.built import BuiltImage
from tests.builder.spec import Data, ImageSpec

SIZE = 4096
FILL = 0x5A


def sound(free: int = 0, held: bytes | None = None) -> BuiltImage:
    """An image with free clusters behind all others; they are holes, or hold some bytes each."""
    image = build(
        ImageSpec(
            cluster_bits=12, virtual_size=1 << 20, content={i: Data(17 + i) for i in range(8)}
        )
    )
    end = len(image.data)
    image.truncate(end + free * SIZE)
    if held is not None:
        for cluster in range(free):
            image.data.write(end + cluster * SIZE, held)
    return image


@contextmanager
def room_in(
    image: BuiltImage, folder: Path, *, can_grow: bool, replaces_blocks: bool = False
) -> Iterator[tuple[Allocator, Draft]]:
    path = image.write_to(folder / "t.qcow2")
    with open_image(path) as opened, closing(Draft(opened, "test")) as draft:
        found = check_for_planning(opened)
        yield (
            Allocator(draft, found, can_grow=can_grow, replaces_blocks=replaces_blocks),
            draft,
        )


def test_a_file_grows_at_its_end_cluster_by_cluster(tmp_path: Path) -> None:
    image = sound(free=3)
    end = len(image.data)
    with room_in(image, tmp_path, can_grow=True) as (room, draft):
        assert [room.allocate(1), room.allocate(3), room.allocate(1)] == [
            end,
            end + SIZE,
            end + 4 * SIZE,
        ]
        assert draft.new_size == end + 5 * SIZE


def test_a_last_cluster_cut_short_is_not_given_out(tmp_path: Path) -> None:
    image = sound()
    end = len(image.data)
    image.truncate(end - 512)
    with room_in(image, tmp_path, can_grow=True) as (room, _):
        assert room.allocate(1) == end


@pytest.mark.parametrize("distance", [2, 3, 9])
def test_the_end_stays_before_what_a_damaged_entry_names(distance: int, tmp_path: Path) -> None:
    """What was never there would look as if it had: by QEMU's rule it has to lie outside."""
    image = sound()
    end = len(image.data)
    image.set_l2(0, 20, 1 << 63 | end + distance * SIZE)
    with room_in(image, tmp_path, can_grow=True) as (room, draft):
        for _ in range(distance):
            room.allocate(1)
        with pytest.raises(UnsafePlanError, match="offsets that damaged entries name"):
            room.allocate(1)
        assert draft.new_size == end + distance * SIZE
        assert "l2.beyond-end" in check_for_planning(draft.drafted()).result.tallies


def test_the_file_does_not_grow_over_a_table_that_was_cut_off(tmp_path: Path) -> None:
    image = sound()
    image.poke(48, len(image.data))
    with (
        room_in(image, tmp_path, can_grow=True) as (room, _),
        pytest.raises(UnsafePlanError),
    ):
        room.allocate(1)
    with room_in(image, tmp_path, can_grow=True, replaces_blocks=True) as (room, _):
        assert room.allocate(1) == len(image.data)


def test_no_file_grows_past_the_clusters_that_qemu_takes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = sound()
    clusters = len(image.data) // SIZE
    monkeypatch.setattr(module, "MAX_HOST_CLUSTERS", clusters + 2)
    with room_in(image, tmp_path, can_grow=True) as (room, _):
        assert room.allocate(2) == clusters * SIZE
        with pytest.raises(UnsafePlanError):
            room.allocate(1)


@pytest.mark.parametrize("held", [None, b"\0" * SIZE])
def test_a_device_gives_free_clusters_that_read_as_zeros(
    held: bytes | None, tmp_path: Path
) -> None:
    image = sound(free=5, held=held)
    end = len(image.data) - 5 * SIZE
    with room_in(image, tmp_path, can_grow=False) as (room, draft):
        assert room.allocate(3) == end
        assert room.allocate(2) == end + 3 * SIZE
        assert draft.is_empty
        with pytest.raises(UnsafePlanError, match="no free cluster of the device is empty"):
            room.allocate(1)


@pytest.mark.parametrize("at", [0, SIZE - 1])
def test_a_free_cluster_that_holds_anything_is_never_given_out(at: int, tmp_path: Path) -> None:
    image = sound(free=3, held=b"\0" * SIZE)
    first = len(image.data) - 3 * SIZE
    image.data.write(first + SIZE + at, bytes([FILL]))
    with room_in(image, tmp_path, can_grow=False) as (room, _), pytest.raises(UnsafePlanError):
        room.allocate(2)
    with room_in(image, tmp_path, can_grow=False) as (room, _):
        assert [room.allocate(1), room.allocate(1)] == [first, first + 2 * SIZE]


def test_a_leaked_cluster_is_never_given_out(tmp_path: Path) -> None:
    image = sound(free=2)
    first = len(image.data) - 2 * SIZE
    image.set_refcount(first // SIZE, 1)
    with room_in(image, tmp_path, can_grow=False) as (room, _):
        assert room.allocate(1) == first + SIZE
        with pytest.raises(UnsafePlanError):
            room.allocate(1)


def test_the_last_cluster_of_a_device_is_only_given_out_whole(tmp_path: Path) -> None:
    image = sound(free=2)
    first = len(image.data) - 2 * SIZE
    image.truncate(len(image.data) - 512)
    with room_in(image, tmp_path, can_grow=False) as (room, _):
        assert room.allocate(1) == first
        with pytest.raises(UnsafePlanError):
            room.allocate(1)


def test_only_so_much_is_read_in_search_of_zeros(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = sound(free=4, held=bytes([FILL]))
    image.data.write(len(image.data) - SIZE, b"\0")
    monkeypatch.setattr(module, "_READ_BYTES", 2 * SIZE)
    with (
        room_in(image, tmp_path, can_grow=False) as (room, _),
        pytest.raises(UnsafePlanError),
    ):
        room.allocate(1)
