"""The JSON documents: valid by the schema, complete, and plain ASCII on one line."""

import errno
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from qcow2_dump.checks.verdict import Verdict
from qcow2_dump.events import ImageFailed
from qcow2_dump.image.image import Image
from qcow2_dump.ondisk.header import HEADER_FIELDS
from qcow2_dump.report import document as doc
from qcow2_dump.report.json_report import check_document, error_document, to_line
from scripts.json_schema import schema_of
from tests.report import samples

STRICT = schema_of("strict", doc.CheckDocument, doc.ErrorDocument, closed=True)


@pytest.fixture
def image(tmp_path: Path) -> Iterator[Image]:
    with samples.sample_image(tmp_path) as opened:
        yield opened


def parsed(line: str) -> Any:
    assert line.isascii()
    assert "\n" not in line
    document = json.loads(line)
    jsonschema.validate(document, STRICT)
    return document


def test_a_sound_image(image: Image) -> None:
    document = parsed(to_line(check_document(samples.checked(samples.result()), image, 0)))
    assert document["status"] == "good"
    assert document["findings"] == document["advice"] == []
    assert document["totals"]["corruptions"] == 0
    assert document["snapshots"][0]["name"] == "monday"
    assert document["header"]["cluster_size"] == samples.CLUSTER


def test_a_finding(image: Image) -> None:
    made = samples.result(samples.beyond_end(3, "active", "1"), samples.shared())
    document = parsed(to_line(check_document(samples.checked(made), image, 6)))
    finding = document["findings"][0]
    assert finding["code"] == "l2.beyond-end"
    assert finding["table"] == {"kind": "l2", "offset": 0x40000}
    assert finding["trees"] == {"first": ["active", "1"], "total": 2}
    assert finding["repair"] == f"qcow2-dump repair {image.name} --drop-unusable"
    assert document["findings"][1]["claimants"][0]["kind"] == "l1"
    assert document["kinds"]["l2.beyond-end"]["places"] == 1


def test_only_the_first_sixteen_trees_are_named(image: Image) -> None:
    made = samples.result(samples.beyond_end(3, *(str(i) for i in range(40))))
    document = parsed(to_line(check_document(samples.checked(made), image, 6)))
    trees = document["findings"][0]["trees"]
    assert (len(trees["first"]), trees["total"]) == (16, 40)


def test_what_is_not_listed_is_counted(image: Image) -> None:
    made = samples.result(*(samples.leak(i, "waste") for i in range(9)), limit=4)
    document = parsed(to_line(check_document(samples.checked(made), image, 1)))
    assert (len(document["findings"]), document["findings_omitted"]) == (4, 5)
    assert document["kinds"]["refcount.leak"]["places"] == 9


def test_an_interrupted_check_is_no_verdict(image: Image) -> None:
    made = samples.result(complete=False)
    document = parsed(to_line(check_document(samples.checked(made), image, 130)))
    assert (document["status"], document["complete"]) == ("incomplete", False)


def test_an_image_that_could_not_be_checked() -> None:
    failed = ImageFailed("\udcff.qcow2", "No such file", errno.ENOENT)
    document = parsed(to_line(error_document(failed, 254)))
    assert document["image"] == r"\xff.qcow2"
    assert (document["status"], document["errno"]) == ("error", "ENOENT")


def test_untrusted_names_are_whole_and_ascii(tmp_path: Path) -> None:
    names = samples.broken_snapshot_names()
    with samples.sample_image(tmp_path, snapshots=names) as image:
        line = to_line(check_document(samples.checked(samples.result()), image, 0))
    assert parsed(line)["snapshots"][0]["name"] == "a\x1b[31m\u202eb\n"


def test_the_header_has_every_field() -> None:
    fields = {field.name for field in HEADER_FIELDS} - {"magic"}
    assert fields <= set(doc.Header.__annotations__)


def test_every_verdict_has_its_status() -> None:
    assert {verdict: verdict.label for verdict in Verdict} == doc.STATUS_OF_VERDICT
