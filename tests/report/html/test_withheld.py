"""No page holds what may be the guest's data, wherever a pointer of the image leads."""

import html
import re
import string
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import pytest

from qcow2_dump.events import ImagePictured
from qcow2_dump.ondisk.constants import ExtensionType
from qcow2_dump.operations.reporting import run_reports
from qcow2_dump.operations.requests import ReportRequest
from qcow2_dump.report.html.page import image_page, index_page, index_row
from tests.builder.build import build
from tests.builder.built import BuiltImage
from tests.builder.spec import BitmapSpec, Data, ImageSpec, SnapshotSpec

_CLUSTER = 4096
_TEXT = bytes(Random(1).choices(string.ascii_letters.encode(), k=_CLUSTER))
_OTHER = _TEXT[::-1]
_L1_OFFSET, _REFCOUNT_TABLE, _SNAPSHOT_COUNT, _SNAPSHOTS = 40, 48, 60, 64


def _built(**given: Any) -> BuiltImage:
    content = {0: Data(_TEXT), 3: Data(_OTHER)}
    return build(ImageSpec(cluster_bits=12, virtual_size=1 << 26, content=content, **given))


def _data(image: BuiltImage) -> int:
    """Where the cluster of known text lies."""
    return image.peek(image.l2_entry_offset(0, 0)) & 0x00FF_FFFF_FFFF_FE00


def _l1_entry(image: BuiltImage) -> None:
    image.set_l1(5, _data(image) | 1 << 63)


def _l1_table(image: BuiltImage) -> None:
    image.poke(_L1_OFFSET, _data(image))


def _refcount_table(image: BuiltImage) -> None:
    image.poke(_REFCOUNT_TABLE, _data(image))


def _refcount_block(image: BuiltImage) -> None:
    image.poke(image.peek(_REFCOUNT_TABLE), _data(image))


def _snapshot_table(image: BuiltImage) -> None:
    image.poke(_SNAPSHOT_COUNT, 1, 4)
    image.poke(_SNAPSHOTS, _data(image))


def _snapshot_l1(image: BuiltImage) -> None:
    image.poke(image.places.snapshot_records[0], _data(image))


def _bitmap_directory(image: BuiltImage) -> None:
    image.poke(image.places.extensions[ExtensionType.BITMAPS] + 24, _data(image))


def _bitmap_table(image: BuiltImage) -> None:
    image.poke(image.places.bitmaps[0].record, _data(image))


_POINTERS: list[Callable[[BuiltImage], None]] = [
    _l1_entry,
    _l1_table,
    _refcount_table,
    _refcount_block,
    _snapshot_table,
    _snapshot_l1,
    _bitmap_directory,
    _bitmap_table,
]


def _pages(path: Path) -> tuple[str, str]:
    """The page of an image but for its own scripts and styles, and what an index says of it."""
    request = ReportRequest(images=(str(path),), output="report.html", max_findings=5000)
    (event,) = (e for e in run_reports(request) if isinstance(e, ImagePictured))
    index = index_page([index_row(event, "page.html")], "1.2.3", 0)
    page = re.sub(r"(?s)<script>.*?</script>|<style>.*?</style>", "", image_page(event, "1.2.3"))
    return html.unescape(page), html.unescape(index.partition("<body>")[2])


def _held(page: str, width: int) -> set[bytes]:
    """All pieces of so many bytes that a page holds as letters, in hex, or as a number."""
    raw = page.encode()
    found = {raw[at : at + width] for at in range(len(raw) - width)}
    for digits in re.findall(rf"[0-9a-f]{{{2 * width},}}", page):
        spelled = (digits[at : at + 2 * width] for at in range(len(digits) - 2 * width + 1))
        found |= {bytes.fromhex(piece) for piece in spelled}
    numbers = (int(text.replace(",", "")) for text in re.findall(r"\d[\d,]*", page))
    return found | {n.to_bytes(width) for n in numbers if n.bit_length() <= 8 * width}


@pytest.mark.parametrize("width", [6, 8])
@pytest.mark.parametrize("lead", _POINTERS, ids=lambda lead: lead.__name__[1:])
def test_a_pointer_into_guest_data_brings_none_of_it_onto_the_page(
    tmp_path: Path, lead: Callable[[BuiltImage], None], width: int
) -> None:
    held = {1: b"x" * _CLUSTER, 3: b"y" * _CLUSTER}
    image = _built(
        snapshots=(SnapshotSpec("1", "s"),),
        bitmaps=(BitmapSpec("b", granularity_bits=9, table=held),),
    )
    lead(image)
    page, index = _pages(image.write_to(tmp_path / "disk.qcow2"))
    assert 'id="finding-1"' in page
    pieces = {
        text[at : at + width] for text in (_TEXT, _OTHER) for at in range(_CLUSTER - width + 1)
    }
    assert not pieces & _held(page, width)
    assert not pieces & _held(index, width)


@pytest.mark.parametrize("order", [3, 4, 5, 6])
def test_refcounts_that_are_guest_data_are_not_told(tmp_path: Path, order: int) -> None:
    image = _built(refcount_order=order)
    _refcount_block(image)
    page, _ = _pages(image.write_to(tmp_path / "disk.qcow2"))
    told = [int(n.replace(",", "")) for n in re.findall(r"refcount ([\d,]+)", page)]
    assert max(told, default=0) <= 8
    assert "cluster has a refcount higher than its references" in page


def test_an_entry_keeps_its_place_and_what_is_wrong_with_it(tmp_path: Path) -> None:
    image = _built()
    image.set_l2(0, 3, 0x12_3456_0000 | 1 << 63)
    page, _ = _pages(image.write_to(tmp_path / "disk.qcow2"))
    place = image.l2_entry_offset(0, 3)
    assert f"entry 3 (file offset {place:#x})" in page
    assert "L2 entry points past the end of the file" in page
    assert "0x3000-0x3fff" in page
    assert "1234560000" not in page
    assert f"qcow2-dump check {tmp_path}/disk.qcow2 --errors" in page


def test_names_in_records_that_cannot_be_used_are_not_shown(tmp_path: Path) -> None:
    snapshots = (SnapshotSpec("1", "monday"), SnapshotSpec("2", "tuesday"))
    image = _built(snapshots=snapshots, bitmaps=(BitmapSpec("kept"), BitmapSpec("gone")))
    image.poke(image.places.snapshot_records[1], 0x6162_6364_6566_6768)
    image.poke(image.places.bitmaps[1].record, 0x6162_6364_6566_6768)
    page, _ = _pages(image.write_to(tmp_path / "disk.qcow2"))
    assert "monday" in page
    assert '"kept"' in page
    assert "tuesday" not in page
    assert "gone" not in page
    assert "1 snapshot record cannot be used: what is written there is not shown" in page
    assert "1 bitmap cannot be used: what is written there is not shown" in page
    assert "snapshot record 1: snapshot names a root table that cannot be used" in page
