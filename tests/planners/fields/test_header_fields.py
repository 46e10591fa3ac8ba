"""Autoclear bits and extensions: what goes, and what stays as it was."""

from __future__ import annotations

from pathlib import Path

from qcow2_dump.image.image import Image
from qcow2_dump.ondisk.constants import ExtensionType
from qcow2_dump.planners.checked import Checked
from qcow2_dump.planners.draft import Draft
from qcow2_dump.planners.fields.header_fields import (
    clear_bitmaps_bit,
    clear_unknown_autoclear,
    remove_extensions,
)
from qcow2_dump.storage.memory import MemorySource
from tests.builder.spec import BitmapSpec
from tests.builder.std import std_image
from tests.planners.drafts import drafted

AUTOCLEAR = 88


def unknown(draft: Draft, found: Checked) -> None:
    clear_unknown_autoclear(draft, found.image)


def bitmaps_bit(draft: Draft, found: Checked) -> None:
    clear_bitmaps_bit(draft, found.image)


def test_unknown_autoclear_bits_go(tmp_path: Path) -> None:
    image = std_image(bitmaps=(BitmapSpec("a"),), autoclear=1 << 63 | 1 << 40 | 1 << 2)
    done = drafted(image, tmp_path, unknown, bitmaps_bit)
    assert done.word(AUTOCLEAR) == 1
    assert done.reasons == {"header.autoclear": 1}
    assert done.before.has("header.autoclear")
    assert done.codes() == set()


def test_the_bit_of_bitmaps_that_are_not_there_goes(tmp_path: Path) -> None:
    done = drafted(std_image(autoclear=1), tmp_path, unknown, bitmaps_bit)
    assert done.reasons == {"header.bitmaps-bit": 1}
    assert done.before.has("header.oddity")
    assert done.codes() == set()


def test_the_bit_stays_where_extensions_are_cut_off(tmp_path: Path) -> None:
    """The bitmaps extension may be among those that cannot be read."""
    image = std_image(autoclear=1, extensions=((0x12345678, b"12345678"),))
    image.poke(image.places.extensions[0x12345678] + 4, 0x7FFFFFFF, 4)
    assert drafted(image, tmp_path, bitmaps_bit).writes == []


def test_version_2_has_no_such_bits(tmp_path: Path) -> None:
    image = std_image(version=2, feature_table=False)
    image.poke(AUTOCLEAR, 0xFF)
    assert drafted(image, tmp_path, unknown, bitmaps_bit).writes == []


def test_other_extensions_stay_when_one_is_removed(tmp_path: Path) -> None:
    image = std_image(
        bitmaps=(BitmapSpec("a"),),
        backing_name="below.raw",
        backing_format="raw",
        extensions=((0x12345678, b"unknown"), (0x12345679, b"")),
    )
    before = Image(MemorySource(image.data.read(0, 0x10000)))

    def remove(draft: Draft, found: Checked) -> None:
        assert remove_extensions(draft, found.image, ExtensionType.BITMAPS, "bitmap.dropped")

    done = drafted(image, tmp_path, remove)
    after = Image(MemorySource(done.data))
    bitmaps = ExtensionType.BITMAPS
    kept = [(e.type, e.data) for e in before.extensions.extensions if e.type != bitmaps]
    assert len(kept) == len(before.extensions.extensions) - 1
    assert [(e.type, e.data) for e in after.extensions.extensions] == kept
    assert after.backing_file == before.backing_file == b"below.raw"
    assert after.header == before.header
