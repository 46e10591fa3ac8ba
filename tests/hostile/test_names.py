"""Names from the image: never raw on a terminal, and never the end of a JSON document."""

import json
import re
import struct
import sys
from pathlib import Path

import pytest

from tests.hostile.raw_image import (
    BITMAPS_EXTENSION,
    DATA_FILE_EXTENSION,
    FEATURE_NAMES_EXTENSION,
    HEADER_PLACES,
    bitmap_record,
    refcounted_image,
    snapshot_record,
)
from tests.hostile.running import run

MIB = 1 << 20
CLUSTER = 1 << 16

NAMES = {
    "escape": b"\x1b[2J\x1b]0;owned\x07\x1b[31",
    "c1": "\x9b31m\x90q\x9c".encode(),
    "bidi": "\u202egnp.exe\u2066\u200f".encode(),
    "invisible": "a\u200b\ufeff\u00ad\U000e0041b".encode(),
    "lines": b"one\r\ntwo\x0bthree\x0cfour\x85\xe2\x80\xa8five",
    "nul": b"\0\0name\0",
    "invalid": b"\xff\xfe\x80\xc3(\xed\xa0\x80",
    "quotes": b"\"', \\ $(reboot) `reboot` %s {0}",
    "long": b"\x1b" * 1000,
}


def write_named_image(path: Path, name: bytes) -> None:
    """An image in which every name there can be is the same, and all of them are reported."""
    with refcounted_image(path, 8 * MIB, nb_snapshots=2, snapshots_offset=MIB) as image:
        # A name that occurs twice is reported; so are names of files that are missing.
        image.write(MIB, 2 * snapshot_record(3 * CLUSTER, 1, name, name))
        records = 2 * bitmap_record(2 * MIB, 1, name, flags=1)
        image.write(3 * MIB, records)
        image.extensions(
            (0xE2792ACA, name[:15]),
            (DATA_FILE_EXTENSION, name),
            (FEATURE_NAMES_EXTENSION, bytes([0, 0]) + name[:46].ljust(46, b"\0")),
            (BITMAPS_EXTENSION, struct.pack(">IIQQ", 2, 0, len(records), 3 * MIB)),
            (0x12345678, name),
        )
        features = {"incompatible_features": 5, "autoclear_features": 1 << 40 | 1}
        fields = {"backing_file_offset": 8192, "backing_file_size": len(name)} | features
        for field, value in fields.items():
            offset, width = HEADER_PLACES[field]
            image.write(offset, value.to_bytes(width, "big"))
        image.write(8192, name)


@pytest.fixture(params=NAMES.values(), ids=NAMES)
def image(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    path = tmp_path / "disk.qcow2"
    write_named_image(path, request.param)
    return path


@pytest.mark.parametrize(
    "words", [("check", "--errors", "--statistics"), ("check", "--color=always"), ("info",)]
)
def test_nothing_but_printable_characters_reaches_the_terminal(
    image: Path, words: tuple[str, ...]
) -> None:
    found = run([sys.executable, "-m", "qcow2_dump", *words, str(image)])
    assert found.status <= 8, found.stderr
    printed = found.stdout + found.stderr
    if "--color=always" in words:
        # What we colour with ourselves; no name in these images is a whole such sequence.
        printed = re.sub(r"\x1b\[[0-9;]+m", "", printed)
    unprintable = {c for c in printed.replace("\n", "") if not c.isprintable()}
    assert not unprintable
    assert "\ntwo" not in printed


@pytest.mark.parametrize("words", [("check", "--json"), ("info", "--json")])
def test_json_is_ascii_and_says_the_names(image: Path, words: tuple[str, ...]) -> None:
    found = run([sys.executable, "-m", "qcow2_dump", *words, str(image)])
    assert found.status <= 8, found.stderr
    assert found.stdout.isascii()
    assert found.stdout.replace("\n", "").isprintable()
    document = json.loads(found.stdout)
    assert document
