"""Results as JSON: one document per image, each on one line of plain ASCII."""

import errno as errno_names
import json
from enum import IntFlag
from typing import Literal, cast

from qcow2_dump.checks.catalogue import RULES
from qcow2_dump.checks.findings import Claimant, Finding
from qcow2_dump.checks.result import (
    CheckResult,
    RefcountStatistics,
    Statistics,
    TableStatistics,
)
from qcow2_dump.events import ImageChecked, ImageFailed
from qcow2_dump.image.image import Image
from qcow2_dump.ondisk.header import HEADER_FIELDS
from qcow2_dump.report import document as doc
from qcow2_dump.report.advice import advise, repair_command
from qcow2_dump.report.escape import plain

__all__ = ["check_document", "error_document", "to_line", "totals_document"]

_SCHEMA: Literal["qcow2-dump.check/1"] = "qcow2-dump.check/1"


def to_line(document: doc.CheckDocument | doc.ErrorDocument) -> str:
    """The document as one line of JSON, without the line end; safe for any encoding."""
    return json.dumps(document, ensure_ascii=True, separators=(", ", ": "))


def check_document(
    checked: ImageChecked,
    image: Image,
    exit_status: int,
    interrupted: doc.Interrupted | None = None,
) -> doc.CheckDocument:
    """What a check found, as the document of `document.CheckDocument`.

    ``interrupted`` is what is known of an earlier change that was not brought to its end.
    """
    result = checked.result
    advice = advise(result, image)
    return {
        "schema": _SCHEMA,
        "image": plain(checked.name),
        "status": _status(result),
        "exit_status": exit_status,
        "complete": result.complete,
        "refusal": result.refusal,
        "header": _header(image),
        "snapshots": _snapshots(image),
        "bitmaps": _bitmaps(image),
        "tables": _tables(result),
        "totals": totals_document(result.statistics),
        "triage": {
            "waste": result.triage.waste,
            "orphans": result.triage.orphans,
            "reasons": list(result.triage.reasons),
        },
        "kinds": _kinds(result),
        "findings": [_finding(finding, image) for finding in result.findings],
        "findings_omitted": result.omitted,
        "advice": [*advice.sentences, *advice.commands],
        "interrupted": interrupted,
        "seconds": round(checked.seconds, 6),
    }


def error_document(
    failed: ImageFailed, exit_status: int, interrupted: doc.Interrupted | None = None
) -> doc.ErrorDocument:
    """An image that could not be checked; ``interrupted`` as for `check_document`."""
    document: doc.ErrorDocument = {
        "schema": _SCHEMA,
        "image": plain(failed.name),
        "status": "error",
        "exit_status": exit_status,
        "error": plain(failed.reason),
    }
    if failed.errno in errno_names.errorcode:
        document["errno"] = errno_names.errorcode[failed.errno]
    if interrupted is not None:
        document["interrupted"] = interrupted
    return document


def _status(result: CheckResult) -> doc.Status:
    if not result.complete:
        return "incomplete"
    return doc.STATUS_OF_VERDICT[result.verdict]


def _header(image: Image) -> doc.Header:
    header = image.header
    fields = {
        field.name: int(getattr(header, field.name))
        for field in HEADER_FIELDS
        if field.name != "magic"
    }
    extensions = image.extensions
    words = (header.incompatible, header.compatible, header.autoclear)
    derived = {
        "cluster_size": header.cluster_size,
        "file_size": image.source.size,
        "features": [name for word in words for name in _flag_names(word)],
        "backing_file": _name(image.backing_file),
        "backing_format": _name(extensions.backing_format),
        "data_file": _name(extensions.data_file),
    }
    # The field table of `ondisk` is the one list of names; a test compares it with the type.
    return cast(doc.Header, {**fields, **derived})


def _flag_names(word: IntFlag) -> list[str]:
    return [str(flag.name).lower().replace("_", "-") for flag in type(word) if flag in word]


def _name(name: bytes | None) -> str | None:
    return None if name is None else plain(name)


def _snapshots(image: Image) -> list[doc.Snapshot]:
    return [
        {
            "position": entry.position,
            "id": plain(entry.record.id),
            "name": plain(entry.record.name),
            "offset": entry.offset,
            "l1_table_offset": entry.record.l1_table_offset,
            "l1_size": entry.record.l1_size,
            "disk_size": entry.record.disk_size,
            "vm_state_size": entry.record.vm_state_size,
            "date": entry.record.date_seconds,
        }
        for entry in image.snapshot_table.entries
    ]


def _bitmaps(image: Image) -> list[doc.Bitmap]:
    directory = image.bitmap_directory
    if directory is None:
        return []
    return [
        {
            "position": item.position,
            "name": plain(item.entry.name),
            "offset": item.offset,
            "table_offset": item.entry.table_offset,
            "table_size": item.entry.table_size,
            "granularity": 1 << item.entry.granularity_bits,
            "flags": item.entry.flags,
            "in_use": item.entry.in_use,
        }
        for item in directory.entries
    ]


def _tables(result: CheckResult) -> doc.Tables:
    return {
        "trees": [
            {
                "snapshot": tree.index,
                "examined": tree.examined,
                "l1": _counts(tree.l1),
                "l2": _counts(tree.l2),
            }
            for tree in result.trees
        ],
        "refcount_table": _counts(result.refcount_table),
        "refcounts": _refcounts(result.refcounts),
    }


def _counts(table: TableStatistics) -> doc.TableCounts:
    return {
        "entries": table.entries,
        "used": table.used,
        "unused": table.unused,
        "unaligned": table.unaligned,
        "invalid": table.invalid,
        "compressed": table.compressed,
    }


def _refcounts(refcounts: RefcountStatistics) -> doc.Refcounts:
    return {
        "error": refcounts.error,
        "leak": refcounts.leak,
        "unused": refcounts.unused,
        "used": refcounts.used,
        "rebuild": refcounts.rebuild,
    }


def totals_document(totals: Statistics) -> doc.Totals:
    """The totals under the keys of ``qemu-img check --output=json``."""
    return {
        "image-end-offset": totals.image_end_offset,
        "total-clusters": totals.total_clusters,
        "allocated-clusters": totals.allocated_clusters,
        "fragmented-clusters": totals.fragmented_clusters,
        "compressed-clusters": totals.compressed_clusters,
        "corruptions": totals.corruptions,
        "leaks": totals.leaks,
        "check-errors": totals.check_errors,
    }


def _kinds(result: CheckResult) -> dict[str, doc.Kind]:
    return {
        code: {
            "severity": doc.SEVERITY[RULES[code].severity],
            "places": result.tallies[code].places,
            "count": result.tallies[code].count,
            "guest_bytes": result.tallies[code].guest_bytes,
            "unsettled": result.tallies[code].unsettled,
        }
        for code in RULES
        if code in result.tallies
    }


def _finding(finding: Finding, image: Image) -> doc.FindingDocument:
    table = finding.table
    expected = finding.expected
    return {
        "code": finding.code,
        "severity": doc.SEVERITY[finding.severity],
        "message": plain(finding.message),
        "offset": finding.offset,
        "table": None if table is None else {"kind": table.kind, "offset": table.offset},
        "l1_index": finding.l1_index,
        "l2_index": finding.l2_index,
        "trees": _trees(finding.trees, finding.trees_total),
        "count": finding.count,
        "settled": finding.settled,
        "triage": finding.triage,
        "value": finding.value,
        "expected": plain(expected) if isinstance(expected, str) else expected,
        "cluster": finding.cluster,
        "claimants": [_claim(claimant) for claimant in finding.claimants],
        "claimants_total": max(finding.claimants_total, len(finding.claimants)),
        "guest_offset": finding.guest_offset,
        "guest_length": finding.guest_length,
        "repair": repair_command(finding, image),
    }


def _claim(claimant: Claimant) -> doc.Claim:
    return {
        "kind": claimant.kind,
        "offset": claimant.offset,
        "guest_offset": claimant.guest_offset,
        "l1_index": claimant.l1_index,
        "l2_index": claimant.l2_index,
        "trees": _trees(claimant.trees, claimant.trees_total),
    }


def _trees(trees: tuple[str, ...], total: int) -> doc.TreeNames:
    return {"first": [plain(tree) for tree in trees[:16]], "total": max(total, len(trees))}
