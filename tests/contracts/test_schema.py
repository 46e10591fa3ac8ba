"""The generated documents are what the code says, and what the code prints fits the schema."""

import json
from pathlib import Path

import jsonschema
import pytest

from qcow2_dump.checks.result import LeakTriage
from qcow2_dump.events import ImageFailed
from qcow2_dump.report.document import CheckDocument, ErrorDocument
from qcow2_dump.report.json_report import check_document, error_document
from scripts.generate_docs import DOCS, documents
from scripts.json_schema import schema_of
from tests.report import samples

SCHEMA = json.loads((DOCS / "check.schema.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", sorted(documents()))
def test_a_generated_document_is_current(name: str) -> None:
    stored = (DOCS / name).read_text(encoding="utf-8")
    assert stored == documents()[name], "run: python -m scripts.generate_docs"


def test_the_schema_is_a_schema() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)


def test_documents_fit_the_schema(tmp_path: Path) -> None:
    made = samples.result(
        samples.beyond_end(3, "active", "1"),
        samples.shared(),
        samples.leak(9, "orphan"),
        triage=LeakTriage(("an L2 entry is unusable",), orphans=1),
    )
    with samples.sample_image(tmp_path) as image:
        jsonschema.validate(check_document(samples.checked(made), image, 6), SCHEMA)
    jsonschema.validate(error_document(ImageFailed("disk.qcow2", "gone", 2), 254), SCHEMA)


@pytest.mark.parametrize("key", ["schema", "status", "totals", "findings", "seconds"])
def test_a_document_without_a_key_does_not_fit(tmp_path: Path, key: str) -> None:
    with samples.sample_image(tmp_path) as image:
        document = dict(check_document(samples.checked(samples.result()), image, 0))
    del document[key]
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(document, SCHEMA)


def test_a_closed_schema_knows_every_key(tmp_path: Path) -> None:
    closed = schema_of("closed", CheckDocument, ErrorDocument, closed=True)
    with samples.sample_image(tmp_path) as image:
        document = dict(check_document(samples.checked(samples.result()), image, 0))
    jsonschema.validate(document, closed)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(document | {"surprise": 1}, closed)
