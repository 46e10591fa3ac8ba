"""Names that try to rule the terminal, or are no text, wherever an image can hold a name."""

import json
from collections.abc import Callable

import pytest

from qcow2_dump.image.image import Image
from qcow2_dump.image.info import ImageInfo
from qcow2_dump.operations.viewing_info import gather_info
from qcow2_dump.report.classic_header import header_lines, snapshot_lines
from qcow2_dump.report.escape import plain
from qcow2_dump.report.info_json import info_document, to_line
from qcow2_dump.report.info_text import info_report
from qcow2_dump.report.style import Style
from qcow2_dump.storage.memory import MemorySource
from tests.builder.build import build
from tests.builder.spec import BitmapSpec, ImageSpec, SnapshotSpec
from tests.ondisk.test_luks import header as luks_header

NAMES = {
    "escape": b"\x1b]0;owned\x07\x1b[2J",
    "lines": b"a\nb\r\nc\x0bd\x85e",
    "bidi": "a\u202eb\u2066c".encode(),
    "invalid": b"\xff\xfe\xc3(\x80",
    "surrogate": b"\xed\xa0\x80",
    "quotes": b'"\\"; rm -rf /',
    "nul": b"a\0b",
}
MARK = b"XXXXXXXXXXXXXXXXXXXXXXXX"
Make = Callable[[str], ImageSpec]

PLACES: dict[str, Make] = {
    "snapshot name": lambda name: ImageSpec(snapshots=(SnapshotSpec("1", name),)),
    "snapshot id": lambda name: ImageSpec(snapshots=(SnapshotSpec(name, "x"),)),
    "bitmap": lambda name: ImageSpec(bitmaps=(BitmapSpec(name),)),
    "backing file": lambda name: ImageSpec(backing_name=name, backing_format="raw"),
    "backing format": lambda name: ImageSpec(backing_name="base", backing_format=name),
    "data file": lambda name: ImageSpec(data_file=name),
    "feature name": lambda name: ImageSpec(
        compatible=1 << 40,
        extensions=((0x6803F857, b"\x01\x28" + name.encode().ljust(46, b"\0")),),
    ),
}


def renamed(spec: ImageSpec, name: bytes) -> ImageInfo:
    """What is gathered of an image with its marks overwritten by a name of any bytes."""
    data = build(spec).data.to_bytes()
    filled = name.ljust(len(MARK), b"_")
    assert MARK in data
    return gather_info(Image(MemorySource(data.replace(MARK, filled), "disk.qcow2")), look=False)


def shown(info: ImageInfo) -> str:
    """Everything that either face prints for people."""
    lines = [*info_report(info, Style()), *header_lines(info), *snapshot_lines(info.snapshots)]
    # Tabs are part of the classic shapes; no name brings any.
    assert all(line.replace("\t", "").isprintable() for line in lines)
    return "\n".join(lines)


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("name", NAMES)
def test_a_hostile_name_is_escaped(place: str, name: str) -> None:
    info = renamed(PLACES[place](MARK.decode()), NAMES[name])
    text = shown(info)
    assert "_" * 5 in text, "the name itself must be shown"
    line = to_line(info_document(info))
    assert line.isascii()
    assert line.isprintable()
    whole = plain(NAMES[name].ljust(len(MARK), b"_"))
    assert json.dumps(whole)[1:-1] in line, "JSON has the whole name"
    assert json.loads(line)["image"] == "disk.qcow2"


@pytest.mark.parametrize("field", ["cipher", "mode"])
def test_a_hostile_cipher_is_escaped(field: str) -> None:
    luks = luks_header(**{field: b"\x1b[31m\xff-x:y"})  # type: ignore[arg-type]
    info = gather_info(
        Image(MemorySource(build(ImageSpec(crypt_method=2, luks=luks)).data.to_bytes()))
    )
    assert "\\x1b[31m" in shown(info)
    assert to_line(info_document(info)).isascii()


@pytest.mark.parametrize(
    "make",
    [
        lambda name: ImageSpec(snapshots=(SnapshotSpec("1", name),)),
        lambda name: ImageSpec(snapshots=(SnapshotSpec(name, "x"),)),
        lambda name: ImageSpec(bitmaps=(BitmapSpec(name),)),
        lambda name: ImageSpec(cluster_bits=21, data_file=name),
        lambda name: ImageSpec(cluster_bits=21, extensions=((0xE2792ACA, name.encode()),)),
    ],
)
def test_a_name_of_64_kib_fills_no_screen(make: Make) -> None:
    name = "n" * 65_535
    info = gather_info(Image(MemorySource(build(make(name)).data.to_bytes())), look=False)
    assert max(map(len, info_report(info, Style()))) < 500
    assert len(to_line(info_document(info))) < 200_000


def test_a_backing_name_that_claims_64_kib_is_cut_to_what_may_be() -> None:
    built = build(ImageSpec(backing_name="b" * 1023, backing_format="raw"))
    built.poke(16, 65_536, 4)
    info = gather_info(Image(MemorySource(built.data.to_bytes())), look=False)
    assert info.backing is not None
    assert info.backing.stored == b"b" * 1023
    assert max(map(len, info_report(info, Style()))) < 500
