"""Records of metadata entries: hostile names stay in their field, and every field is documented."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest

from qcow2_dump.image.image import open_image
from qcow2_dump.operations.listing import Listing, ListingRun
from qcow2_dump.report.entry_records import FIELDS, FLAG_FIELDS
from qcow2_dump.report.escape import printable
from qcow2_dump.report.listing_records import ListingRecords
from tests.builder.spec import BitmapSpec, SnapshotSpec
from tests.builder.std import std_image

DOCUMENT = Path(__file__).parents[2] / "docs" / "dump.md"

HOSTILE = ('a,"b"', " padded ", "line\r\nend", "\x1b[31mred", "null\x00", "€ grün", '"', "k" * 1023)


def text_of(path: Path, *, as_csv: bool) -> str:
    """The records of an image."""
    with open_image(path) as image:
        records = ListingRecords(image, csv=as_csv)
        events = ListingRun(image, Listing(entries="all", what="tables"))
        return "".join(piece for event in events for piece in records.take(event))


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names(name: str, tmp_path: Path) -> None:
    image = std_image(
        snapshots=(SnapshotSpec(name, "monday"),),
        bitmaps=(BitmapSpec(name, table={0: b"\xff"}),),
    )
    path = image.write_to(tmp_path / "t.qcow2")
    objects = [json.loads(line) for line in text_of(path, as_csv=False).splitlines()]
    rows = list(csv.DictReader(io.StringIO(text_of(path, as_csv=True))))
    assert len(objects) == len(rows)
    for found, shown in ((objects, name), (rows, printable(name))):
        trees = {row["tree"] for row in found if row.get("snapshot_index") in (0, "0")}
        bitmaps = {row["bitmap"] for row in found if row["table"] == "bitmap_table"}
        assert trees == bitmaps == {shown}
    assert text_of(path, as_csv=True).count("\n") == len(rows) + 1


def test_every_field_is_documented() -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    missing = [field for field in (*FIELDS, *FLAG_FIELDS) if f"`{field}`" not in text]
    assert missing == []


def test_bytes_that_are_no_text(tmp_path: Path) -> None:
    image = std_image(snapshots=(SnapshotSpec("id", "monday"),))
    path = image.write_to(tmp_path / "t.qcow2")
    data = bytearray(path.read_bytes())
    at = data.index(b"idmonday")
    data[at : at + 2] = b"\xff\xfe"
    path.write_bytes(data)
    last = json.loads(text_of(path, as_csv=False).splitlines()[-1])
    assert last["tree"] == "\\xff\\xfe"
