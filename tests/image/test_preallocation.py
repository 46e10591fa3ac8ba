"""The preallocation mode: by the first unused entry, and by what is on disk."""

from dataclasses import replace
from pathlib import Path
from unittest import mock

import pytest

from qcow2_dump.image import preallocation as module
from qcow2_dump.image.image import Image, open_image
from qcow2_dump.image.preallocation import Preallocation, preallocation
from qcow2_dump.storage.memory import MemorySource
from qcow2_dump.storage.wrappers import CountingSource, FailingSource
from tests.builder.build import build
from tests.builder.built import BuiltImage
from tests.builder.spec import (
    Compressed,
    Content,
    Data,
    ImageSpec,
    Subclusters,
    ZeroAlloc,
    ZeroPlain,
)
from tests.corpus import qemu

SIZE = 20 << 12
FULL: dict[int, Content] = {guest: Data(1) for guest in range(20)}
SPEC = ImageSpec(cluster_bits=12, virtual_size=SIZE, content=FULL)


def opened(built: BuiltImage) -> Image:
    return Image(MemorySource(built.data.to_bytes()))


def mode(spec: ImageSpec, on_disk: int | None = SIZE) -> str | None:
    return preallocation(opened(build(spec)), on_disk).mode


@pytest.mark.parametrize(
    ("on_disk", "expected"), [(SIZE, "full"), (SIZE - 1, "metadata"), (SIZE + 1, "full")]
)
def test_a_full_image(on_disk: int, expected: str) -> None:
    assert mode(SPEC, on_disk) == expected


@pytest.mark.parametrize(
    ("guest", "content", "expected"),
    [
        (19, None, "off"),
        (0, None, "off"),
        (7, ZeroPlain(), "off"),
        (7, ZeroAlloc(), "full"),
        (7, Compressed(3), "full"),
    ],
)
def test_one_entry_decides(guest: int, content: Content | None, expected: str) -> None:
    others = {key: value for key, value in FULL.items() if key != guest}
    chosen = others if content is None else {**others, guest: content}
    assert mode(replace(SPEC, content=chosen)) == expected


def test_entries_behind_the_disk_do_not_count() -> None:
    # 20 of the 512 entries of the table lie inside; so does the last one, if only in part.
    assert mode(replace(SPEC, virtual_size=SIZE - 512)) == "full"
    assert mode(replace(SPEC, virtual_size=SIZE + 512)) == "off"


def test_several_tables() -> None:
    size = 600 << 12
    content: dict[int, Content] = {guest: Data(1) for guest in range(600)}
    spec = replace(SPEC, virtual_size=size, content=content)
    assert mode(spec, size) == "full"
    assert mode(replace(spec, content={**content, 599: ZeroPlain()}), size) == "off"


def test_extended_entries() -> None:
    content: dict[int, Content] = {guest: Data(1) for guest in range(20)}
    spec = ImageSpec(cluster_bits=16, virtual_size=20 << 16, extended_l2=True, content=content)
    assert mode(spec, 20 << 16) == "full"
    # Its bitmap is not 0, but it has no host cluster.
    zeros = Subclusters(0xFFFFFFFF << 32)
    assert mode(replace(spec, content={**content, 9: zeros}), 20 << 16) == "off"


@pytest.mark.parametrize("asked", ["off", "metadata", "falloc", "full"])
def test_what_qemu_made(asked: str, tmp_path: Path) -> None:
    path = tmp_path / "disk"
    qemu.create(path, 4 << 20, preallocation=asked)
    with open_image(path) as image:
        found = preallocation(image, image.source.allocated())
    # QEMU may also fill the disk on some file systems that have no holes.
    assert found.mode == {"falloc": "full"}.get(asked, asked)


def test_the_first_cluster_of_a_data_file_is_a_place(tmp_path: Path) -> None:
    qemu.create(tmp_path / "disk", 1 << 20, data_file="disk.raw", data_file_raw="on")
    with open_image(tmp_path / "disk") as image:
        assert preallocation(image, 1 << 20) == Preallocation("full")


@pytest.mark.parametrize("size", [0, 512 << 12 << 9])
def test_a_disk_without_entries_is_not_preallocated(size: int) -> None:
    """Without a byte, or with an L1 table too short for it."""
    built = build(SPEC)
    built.poke(24, size)
    assert preallocation(opened(built), SIZE) == Preallocation("off")


@pytest.mark.parametrize(
    ("offset", "value", "reason"),
    [
        (40, 0x201, "the L1 table is not where it can be read"),
        (None, 0x8000000000000200 | 0x10000, "the L2 table at 0x10200 is not aligned"),
    ],
)
def test_damage_is_told(offset: int | None, value: int, reason: str) -> None:
    built = build(SPEC)
    built.poke(built.l1_entry_offset(0) if offset is None else offset, value)
    assert preallocation(opened(built), SIZE) == Preallocation(None, reason)


@pytest.mark.parametrize("value", [0x00FFFFFFFFFFF000, 0x8000000000000000])
def test_a_table_where_there_is_none_is_unused(value: int) -> None:
    built = build(SPEC)
    built.set_l1(0, value)
    assert preallocation(opened(built), SIZE) == Preallocation("off")


def test_an_unreadable_table_is_told() -> None:
    built = build(SPEC)
    table = built.l2_entry_offset(0, 0)
    source = MemorySource(built.data.to_bytes())
    image = Image(FailingSource(source, (table, table + 4096)))
    found = preallocation(image, SIZE)
    assert found.mode is None
    assert "Input/output error" in (found.reason or "")


def test_no_more_than_the_budget_is_read() -> None:
    size = 600 << 12
    spec = replace(SPEC, virtual_size=size, content={guest: Data(1) for guest in range(600)})
    built = build(spec)
    counting = CountingSource(MemorySource(built.data.to_bytes()))
    image = Image(counting)
    counting.bytes_read = 0
    with mock.patch.object(module, "TABLE_BUDGET", 4096):
        found = preallocation(image, size)
    assert found.mode is None
    assert counting.bytes_read <= 4096 + 6 * 8


def test_the_search_ends_at_the_first_unused_entry() -> None:
    content: dict[int, Content] = {guest: Data(1) for guest in range(1, 600)}
    built = build(replace(SPEC, virtual_size=600 << 12, content=content))
    counting = CountingSource(MemorySource(built.data.to_bytes()))
    image = Image(counting)
    counting.bytes_read = 0
    assert preallocation(image, SIZE).mode == "off"
    assert counting.bytes_read <= 4096 + 6 * 8


def test_without_the_size_on_disk_the_mode_is_not_known() -> None:
    assert mode(SPEC, None) is None
