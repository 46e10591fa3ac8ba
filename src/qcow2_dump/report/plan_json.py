"""Changes of an image as JSON: one document, on one line of plain ASCII."""

import errno as errno_names
import json
from dataclasses import dataclass
from typing import Literal

from qcow2_dump.checks.result import CheckResult
from qcow2_dump.image.image import Image
from qcow2_dump.planners.proposal import GuestLoss, Proposal
from qcow2_dump.report import plan_document as doc
from qcow2_dump.report.changes import Change, changes, counted_reasons
from qcow2_dump.report.document import STATUS_OF_VERDICT
from qcow2_dump.report.escape import plain
from qcow2_dump.report.json_report import totals_document
from qcow2_dump.report.reason_words import for_the_guest, what_is_done

__all__ = ["Outcome", "failure_document", "plan_document", "to_line", "value_document"]

_SCHEMA: Literal["qcow2-dump.plan/1"] = "qcow2-dump.plan/1"
_WIDEST = 2**64


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of a plan. ``after`` is the check of the image as it now is."""

    status: doc.ChangeStatus
    exit_status: int
    dry_run: bool = False
    applied: bool = False
    undo_file: str | None = None
    undo_command: str | None = None
    after: CheckResult | None = None
    error: str | None = None


def plan_document(
    name: str,
    command: str,
    proposal: Proposal,
    outcome: Outcome,
    max_changes: int,
    image: Image | None = None,
) -> doc.PlanDocument:
    """A plan and what became of it; at most ``max_changes`` of its changes are listed.

    ``image`` is the image that it is for, None where it is none.
    """
    plan = proposal.plan
    counts = counted_reasons(plan)
    listed = [_change(change) for change in changes(plan, image, limit=max_changes)]
    after = outcome.after if outcome.applied else proposal.after
    return {
        "schema": _SCHEMA,
        "image": plain(name),
        "command": plain(command),
        "dry_run": outcome.dry_run,
        "applied": outcome.applied,
        "status": outcome.status,
        "exit_status": outcome.exit_status,
        "changes": listed,
        "changes_total": counts.total(),
        "changes_omitted": counts.total() - len(listed),
        "reasons": {
            reason: {
                "changes": count,
                "what": what_is_done(reason),
                "guest": for_the_guest(reason),
            }
            for reason, count in counts.items()
        },
        "bytes_written": plan.bytes_written,
        "size_before": plan.size,
        "size_after": plan.new_size,
        "notes": [plain(note) for note in proposal.notes],
        "losses": [_loss(loss) for loss in proposal.losses],
        "losses_total": max(proposal.losses_total, len(proposal.losses)),
        "undo_file": None if outcome.undo_file is None else plain(outcome.undo_file),
        "undo_command": None if outcome.undo_command is None else plain(outcome.undo_command),
        "before": _state(proposal.before),
        "after": _state(after),
        "error": None if outcome.error is None else plain(outcome.error),
    }


def value_document(name: str, offset: int, width: int, value: int) -> doc.ValueDocument:
    """The integer at an offset of the file."""
    return {
        "schema": _SCHEMA,
        "image": plain(name),
        "offset": offset,
        "width": width,
        "value": value,
    }


def failure_document(
    name: str,
    command: str,
    reason: str,
    number: int | None,
    exit_status: int,
    *,
    word: Literal["error", "interrupted"] = "error",
) -> doc.ChangeFailure:
    """A change that could not be planned or made; ``word`` is its status."""
    document: doc.ChangeFailure = {
        "schema": _SCHEMA,
        "image": plain(name),
        "command": plain(command),
        "status": word,
        "exit_status": exit_status,
        "error": plain(reason),
    }
    if number is not None and number in errno_names.errorcode:
        document["errno"] = errno_names.errorcode[number]
    return document


def to_line(
    document: doc.PlanDocument | doc.ValueDocument | doc.ChangeFailure | doc.UndoListDocument,
) -> str:
    """The document as one line of JSON, without the line end; safe for any encoding."""
    return json.dumps(document, ensure_ascii=True, separators=(", ", ": "))


def _change(change: Change) -> doc.ChangeDocument:
    return {
        "reason": change.reason,
        "kind": change.kind,
        "table": change.table,
        "field": change.name,
        "index": change.unit,
        "cluster": change.cluster,
        "offset": change.offset,
        "length": change.length,
        "old": _value(change.old),
        "new": _value(change.new),
        "guest_offset": change.guest_offset,
        "guest_length": change.guest_length,
        "text": f"{change.place}: {change.step}",
    }


def _value(value: int | bytes) -> int | str:
    if isinstance(value, bytes):
        return value.hex()
    return value if value < _WIDEST else f"{value:032x}"


def _loss(loss: GuestLoss) -> doc.GuestLossDocument:
    return {
        "guest_offset": loss.offset,
        "guest_length": loss.length,
        "trees": [plain(tree) for tree in loss.trees],
        "why": plain(loss.why),
    }


def _state(result: CheckResult | None) -> doc.StateDocument | None:
    if result is None:
        return None
    return {
        "status": STATUS_OF_VERDICT[result.verdict] if result.complete else "incomplete",
        "exit_status": int(result.verdict),
        "totals": totals_document(result.statistics),
    }
