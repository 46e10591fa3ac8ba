"""Reading small tables from a source of which parts cannot be read."""

import pytest

from qcow2_dump.errors import SourceError
from qcow2_dump.image.image import Image
from qcow2_dump.storage.memory import MemorySource
from qcow2_dump.storage.wrappers import FailingSource
from tests.builder.built import BuiltImage
from tests.builder.spec import SnapshotSpec
from tests.builder.std import std_image


def damaged(built: BuiltImage, start: int, end: int) -> Image:
    return Image(FailingSource(MemorySource(built.data.to_bytes()), (start, end)))


@pytest.fixture
def built() -> BuiltImage:
    """Two snapshots in a table with more of the file behind it."""
    image = std_image(snapshots=(SnapshotSpec("1", "a" * 600), SnapshotSpec("2", "b")))
    image.data.write(image.places.snapshot_records[1] + 0x20000, b"more")
    return image


def test_what_lies_behind_the_snapshot_table_need_not_be_readable(built: BuiltImage) -> None:
    behind = built.places.snapshot_records[1] + 512
    image = damaged(built, behind, behind + 1)
    assert [entry.record.id for entry in image.snapshot_table.entries] == [b"1", b"2"]
    assert image.snapshot_table.dropped == 0


@pytest.mark.parametrize("record", [0, 1])
def test_an_unreadable_record_is_an_error(built: BuiltImage, record: int) -> None:
    at = built.places.snapshot_records[record]
    with pytest.raises(SourceError, match="Input/output error"):
        _ = damaged(built, at, at + 1).snapshot_table
