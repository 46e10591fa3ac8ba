"""Bitmap directory entries, table entries and their rules (section 6)."""

from typing import Any

import pytest

from qcow2_dump.errors import FormatError
from qcow2_dump.ondisk.bitmaps import (
    BitmapDirectoryEntry,
    BitmapEntryKind,
    bitmap_cluster_offset,
    bitmap_entry_kind,
    bitmap_entry_rules,
    bitmap_extension_rules,
    bitmap_table_entries,
    unpack_bitmap_entry,
)
from qcow2_dump.ondisk.extensions import BitmapsExtension
from qcow2_dump.ondisk.geometry import Geometry
from tests.ondisk.samples import BITMAP, MIB

GEOMETRY = Geometry(16)
EXTENSION = BitmapsExtension(1, 0, 32, 0xA0000)


def told(entry: BitmapDirectoryEntry, geometry: Geometry = GEOMETRY) -> set[tuple[str, bool]]:
    found = bitmap_entry_rules(entry, geometry, 64 * MIB)
    return {(broken.rule, broken.refused) for broken in found}


def test_every_field_is_read_from_its_place() -> None:
    data = bytes.fromhex("0000000000090000 00000002 00000003 01 10 0004 00000003") + b"extname!"
    entry, following = unpack_bitmap_entry(b"12345678" + data, 8)
    assert entry == BitmapDirectoryEntry(0x90000, 2, 3, 1, 16, b"ext", b"name")
    assert entry.in_use
    assert following == 8 + 32
    assert entry.length == 32
    assert entry.pack() == data[:31] + b"\0"


@pytest.mark.parametrize("length", [0, 23, 24, 31])
def test_an_entry_that_crosses_the_end(length: int) -> None:
    assert BITMAP.length == 32
    with pytest.raises(FormatError, match="ends inside the entry"):
        unpack_bitmap_entry(BITMAP.pack()[:length], 0)


def test_an_absurd_length_crosses_the_end() -> None:
    data = BITMAP.pack()[:20] + b"\xff" * 4 + bytes(100)
    with pytest.raises(FormatError):
        unpack_bitmap_entry(data, 0)


@pytest.mark.parametrize(
    ("raw", "kind"),
    [
        (0, BitmapEntryKind.ALL_ZEROS),
        (1, BitmapEntryKind.ALL_ONES),
        (0x80000, BitmapEntryKind.DATA),
        (0x80001, BitmapEntryKind.INVALID),
        (2, BitmapEntryKind.INVALID),
        (0x100, BitmapEntryKind.INVALID),
        (0x80000 | 1 << 56, BitmapEntryKind.INVALID),
        (1 << 63, BitmapEntryKind.INVALID),
        (0x80200, BitmapEntryKind.DATA),
    ],
)
def test_table_entries(raw: int, kind: BitmapEntryKind) -> None:
    assert bitmap_entry_kind(raw) == kind


def test_alignment_is_judged_when_the_cluster_size_is_given() -> None:
    assert bitmap_entry_kind(0x80200, 16) == BitmapEntryKind.INVALID
    assert bitmap_entry_kind(0x80000, 16) == BitmapEntryKind.DATA
    assert bitmap_cluster_offset(0xFF000000000801FF) == 0x80000


@pytest.mark.parametrize(
    ("size", "granularity", "entries"),
    [
        (64 * MIB, 16, 1),
        (0, 16, 0),
        (2**16 * 8 * 65536, 16, 1),
        (2**16 * 8 * 65536 + 1, 16, 2),
        (2**40, 9, 4096),
    ],
)
def test_table_size_that_a_disk_needs(size: int, granularity: int, entries: int) -> None:
    assert bitmap_table_entries(size, granularity, GEOMETRY) == entries


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        ({"nb_bitmaps": 65_535}, None),
        ({"nb_bitmaps": 0}, "bitmap-count"),
        ({"nb_bitmaps": 65_536}, "bitmap-count"),
        ({"reserved": 1}, "bitmaps-reserved"),
        ({"directory_size": 1}, None),
        ({"directory_size": 0}, "bitmap-directory-size"),
        ({"directory_size": 67_107_840}, None),
        ({"directory_size": 67_107_841}, "bitmap-directory-size"),
        ({"directory_offset": 0xA0200}, "bitmap-directory-offset"),
        ({"directory_offset": 0x7FFFFFFFC0000000}, "bitmap-directory-offset"),
    ],
)
def test_extension_rules(changes: dict[str, int], rule: str | None) -> None:
    found = list(bitmap_extension_rules(EXTENSION._replace(**changes), GEOMETRY))
    assert [broken.rule for broken in found] == ([rule] if rule else [])
    assert all(broken.refused for broken in found)


def test_a_sound_entry_breaks_nothing() -> None:
    assert told(BITMAP) == set()


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        ({"table_offset": 0}, "bitmap-table-offset"),
        ({"table_offset": 0x90001}, "bitmap-table-offset"),
        ({"table_offset": 0x7FFFFFFFC0000000}, "bitmap-table-offset"),
        ({"table_size": 0}, "bitmap-table-size"),
        ({"table_size": 2}, "bitmap-table-size"),
        ({"table_size": 8192, "flags": 1}, None),
        ({"table_size": 8193, "flags": 1}, "bitmap-table-size"),
        ({"flags": 0}, None),
        ({"flags": 3}, None),
        ({"flags": 4}, "bitmap-flags"),
        ({"flags": 1 << 31}, "bitmap-flags"),
        ({"type": 0}, "bitmap-type"),
        ({"type": 2}, "bitmap-type"),
        ({"granularity_bits": 9}, None),
        ({"granularity_bits": 8}, "bitmap-granularity"),
        ({"granularity_bits": 31}, None),
        ({"granularity_bits": 32}, "bitmap-granularity"),
        ({"name": b"n" * 1023}, None),
        ({"name": b"n" * 1024}, "bitmap-name"),
        ({"extra_data": b"x"}, "bitmap-extra-data"),
    ],
)
def test_entry_rules(changes: dict[str, Any], rule: str | None) -> None:
    assert told(BITMAP._replace(**changes)) == ({(rule, True)} if rule else set())


def test_an_empty_name_is_forbidden_but_accepted() -> None:
    assert told(BITMAP._replace(name=b"")) == {("bitmap-name", False)}


def test_qemu_does_not_look_for_the_table_of_a_bitmap_in_use() -> None:
    far = BITMAP._replace(flags=1, table_offset=0x7FFFFFFFC0000000)
    assert told(far) == {("bitmap-table-offset", False)}
    assert told(far._replace(table_offset=0x90001)) == {("bitmap-table-offset", True)}


def test_small_clusters_are_limited_by_entries_in_bytes() -> None:
    table = BITMAP._replace(flags=1, table_size=1_048_576)
    assert told(table, Geometry(9)) == set()
    assert told(table._replace(table_size=1_048_577), Geometry(9)) == {("bitmap-table-size", True)}
