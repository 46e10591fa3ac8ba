"""The document of `info --json`: its types, and what becomes of odd values."""

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from qcow2_dump.image.info import ImageInfo, InfoFailure
from qcow2_dump.operations.requests import InfoRequest
from qcow2_dump.operations.viewing_info import read_infos
from qcow2_dump.report.info_document import InfoDocument, InfoErrorDocument
from qcow2_dump.report.info_json import failure_document, info_document, to_line
from scripts.generate_docs import DOCS
from scripts.json_schema import schema_of
from tests.builder.build import build
from tests.builder.spec import ImageSpec
from tests.builder.std import std_image
from tests.report.test_info_text import SPECIAL, info_of

SCHEMA = json.loads((DOCS / "info.schema.json").read_text(encoding="utf-8"))
CLOSED = schema_of("closed", InfoDocument, InfoErrorDocument, closed=True)


def document(info: ImageInfo) -> dict[str, Any]:
    made: dict[str, Any] = json.loads(to_line(info_document(info)))
    return made


@pytest.mark.parametrize("spec", [SPECIAL, ImageSpec(version=2), ImageSpec(data_file="disk.raw")])
def test_documents_fit_the_schema_and_nothing_else_is_in_them(spec: ImageSpec) -> None:
    made = document(info_of(build(spec)))
    jsonschema.validate(made, SCHEMA)
    jsonschema.validate(made, CLOSED)


def test_a_chain_fits_the_schema(tmp_path: Path) -> None:
    (tmp_path / "raw").write_bytes(b"raw")
    std_image(backing_name="raw").write_to(tmp_path / "base")
    path = std_image(backing_name="base", backing_format="qcow2").write_to(tmp_path / "disk")
    broken = std_image(backing_name="gone").write_to(tmp_path / "broken")
    found = list(read_infos(InfoRequest(images=(str(path), str(broken)), chain=True)))
    first, second = (document(info) for info in found if isinstance(info, ImageInfo))
    for made in (first, second):
        jsonschema.validate(made, CLOSED)
    base, raw = first["chain"]
    assert (base["info"]["filename"], raw["info"]) == (str(tmp_path / "base"), None)
    assert (raw["probed"], raw["format"], raw["file"]["length"]) == (True, "raw", 3)
    assert second["chain"][0]["error"] == "No such file or directory"


@pytest.mark.parametrize("key", ["schema", "virtual-size", "format-specific", "problems"])
def test_a_document_without_a_key_does_not_fit(key: str) -> None:
    made = document(info_of(std_image()))
    del made[key]
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(made, SCHEMA)


def test_a_failure_fits_the_schema(tmp_path: Path) -> None:
    built = std_image()
    built.poke(20, 40, 4)
    path = built.write_to(tmp_path / "disk")
    failures = read_infos(InfoRequest(images=(str(path), str(tmp_path / "gone"))))
    refused, gone = (
        json.loads(to_line(failure_document(failure, 234)))
        for failure in failures
        if isinstance(failure, InfoFailure)
    )
    jsonschema.validate(refused, CLOSED)
    jsonschema.validate(gone, CLOSED)
    assert refused["header"]["cluster_bits"] == 40
    assert (gone["header"], gone["errno"]) == (None, "ENOENT")


def test_the_virtual_size_is_that_of_whole_sectors() -> None:
    made = document(info_of(build(ImageSpec(virtual_size=1_000_000))))
    assert made["virtual-size"] == 999_936
    assert made["header"]["size"] == 1_000_000


def test_numbers_beyond_64_bits_do_not_appear() -> None:
    built = build(SPECIAL)
    record = built.places.bitmaps[0].record
    built.poke(record + 17, 255, 1)
    made = document(info_of(built))
    (first, _) = made["bitmaps"]
    assert (first["granularity"], first["granularity_bits"]) == (None, 255)
    # QEMU would not open it; what it cannot say it cannot be compared with.
    assert [b["name"] for b in made["format-specific"]["data"]["bitmaps"]] == ["two"]
    jsonschema.validate(made, CLOSED)


def test_dates_are_utc() -> None:
    made = document(info_of(build(SPECIAL)))
    assert [snapshot["date_utc"] for snapshot in made["snapshots"]] == [
        "2023-11-14T22:13:20Z",
        "2024-02-29T12:34:56Z",
    ]
    assert made["snapshots"][1]["vm-clock-sec"] == 100_000
    assert made["snapshots"][1]["vm-clock-nsec"] == 1_000_000
