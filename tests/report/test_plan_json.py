"""The document of a change: complete, closed by its schema, and plain ASCII on one line."""

import json
from pathlib import Path

import jsonschema
import pytest

from qcow2_dump.events import ChangeMade
from qcow2_dump.plan.model import Barrier, Field, Plan, Resize, Write
from qcow2_dump.planners.proposal import GuestLoss, Proposal
from qcow2_dump.report import plan_document as doc
from qcow2_dump.report.change_text import AfterChange, change_report
from qcow2_dump.report.info_document import SnapshotsDocument
from qcow2_dump.report.plan_json import Outcome, failure_document, plan_document, to_line
from qcow2_dump.report.plan_text import PlanOptions, nothing_to_do, plan_report
from qcow2_dump.report.style import Style
from scripts.json_schema import schema_of
from tests.report import samples

STRICT = schema_of(
    "strict",
    doc.PlanDocument,
    doc.ChangeFailure,
    doc.UndoListDocument,
    doc.ValueDocument,
    SnapshotsDocument,
    closed=True,
)
HOSTILE = "a\x1b[31mb\u202e"


def proposal(reason: str = "why", kind: str = "l2", unit_bits: int = 64) -> Proposal:
    """A plan of ten entries, a longer file and a loss."""
    plan = Plan("test", 1 << 20)
    old, new = bytes(80), b"".join(n.to_bytes(8, "big") for n in range(1, 11))
    field = Field(kind, 0x40000, unit_bits, 0, 0, 0x10000)
    put = plan.spool.put
    plan.steps += [
        Resize(1 << 20, 2 << 20, "file.grow"),
        Barrier(),
        Write(0x40000, put(old), put(new), field, reason, 10),
    ]
    made = Proposal(plan, notes=["One thing stays."], before=samples.result(samples.shared()))
    made.losses = [GuestLoss(0x10000, 0x10000, ("active", "1"), "the entry led nowhere")]
    made.losses_total = 3
    made.after = samples.result()
    return made


def parsed(line: str) -> doc.PlanDocument:
    assert line.isascii()
    assert "\n" not in line
    document: doc.PlanDocument = json.loads(line)
    jsonschema.validate(document, STRICT)
    return document


def test_everything_is_in_the_document() -> None:
    outcome = Outcome(status="planned", exit_status=6, dry_run=True)
    found = parsed(to_line(plan_document("disk", "a line", proposal(), outcome, 4)))
    assert len(found["changes"]) == 4
    assert (found["changes_total"], found["changes_omitted"]) == (11, 7)
    assert found["reasons"]["why"]["changes"] == 10
    assert found["reasons"]["file.grow"]["what"] is not None
    assert (found["size_before"], found["size_after"]) == (1 << 20, 2 << 20)
    assert found["losses_total"] == 3
    assert found["before"] is not None
    assert found["before"]["status"] == "corrupt"
    assert found["after"] is not None
    assert found["after"]["status"] == "good"


def test_after_a_change_only_what_was_checked_counts() -> None:
    outcome = Outcome(status="done", exit_status=0, applied=True, undo_file="u", undo_command="v")
    found = parsed(to_line(plan_document("disk", "a line", proposal(), outcome, 1000)))
    assert found["after"] is None
    assert found["undo_file"] == "u"
    assert found["undo_command"] == "v"


def test_a_failure() -> None:
    parsed(to_line(failure_document("disk", "a line", "gone", 2, 254)))
    parsed(to_line(failure_document("disk", "a line", "odd", None, 251)))


@pytest.mark.parametrize("unit_bits", [0, 3, 7, 12, 24, 65535])
def test_what_an_undo_file_may_claim(unit_bits: int, tmp_path: Path) -> None:
    """Reasons, structures and widths of a plan can come from a file that somebody else made."""
    made = proposal(HOSTILE, HOSTILE, unit_bits)
    made.notes = [HOSTILE]
    outcome = Outcome(status="planned", exit_status=0, dry_run=True)
    parsed(to_line(plan_document(HOSTILE, HOSTILE, made, outcome, 1000)))
    with samples.sample_image(tmp_path) as image:
        lines = list(plan_report(HOSTILE, made, image, PlanOptions(1000)))
    assert all(line.isprintable() for line in lines)


def test_losses_and_the_future_are_told(tmp_path: Path) -> None:
    with samples.sample_image(tmp_path) as image:
        lines = list(plan_report("disk", proposal(), image, PlanOptions(1000, per_reason=2)))
    assert "  given up: 3 ranges of the guest's disk" in lines
    assert "      guest 0x10000-0x1ffff   active, 1   the entry led nowhere" in lines
    assert "        and 8 more" in lines
    assert "  One thing stays." in lines
    assert "  afterwards: GOOD - nothing is wrong" in lines
    assert "  the file grows from 1,048,576 to 2,097,152 bytes" in lines


def test_a_change_without_an_image_and_without_an_undo_file() -> None:
    lines = list(
        change_report(
            ChangeMade("disk", None), proposal(), AfterChange(None, None), "stored", Style()
        )
    )
    assert lines[0] == "disk: stored: 11 changes, 80 bytes written and read back"
    assert lines[-1] == "  next: qcow2-dump check disk"
    assert not any("undo" in line for line in lines)


def test_nothing_to_do_in_what_is_no_image() -> None:
    empty = Proposal(Plan("test", 0), notes=["It is there already."])
    assert list(nothing_to_do("disk", empty, None, Style())) == [
        "disk: nothing to do",
        "",
        "  It is there already.",
    ]
