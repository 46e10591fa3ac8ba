"""Header, feature bits, extensions, and the files that the image names (format section 1).

Verifies what can be told from the first cluster; where tables lie, and what is in them, is left
to the passes that read them.
"""

from qcow2_dump.checks.catalogue import RULES, Impact
from qcow2_dump.checks.facts import CheckFacts
from qcow2_dump.checks.findings import Finding, Table
from qcow2_dump.image.shown_names import shown
from qcow2_dump.ondisk.constants import IncompatibleFeature
from qcow2_dump.ondisk.header import FIELD_OFFSETS
from qcow2_dump.ondisk.header_rules import broken_header_rules
from qcow2_dump.ondisk.rules import BrokenRule

__all__ = ["check_header"]

_HEADER = Table("header", 0)

CODES = {
    "header-length": "header.length",
    "header-length-unaligned": "header.padding",
    "header-padding": "header.padding",
    "backing-offset": "header.backing-offset",
    "backing-size": "header.backing-name",
    "backing-overlap": "header.oddity",
    "backing-format-length": "header.extension",
    "compression-type": "header.compression-type",
    "extended-l2": "header.extended-l2",
    "refcount-order": "header.refcount-order",
    "refcount-table-empty": "header.refcount-table",
    "refcount-table-size": "header.refcount-table",
    "refcount-table-offset": "header.refcount-table",
    "snapshot-count": "snapshot.table",
    "snapshots-offset": "snapshot.table",
    "l1-size": "header.l1-table",
    "l1-offset": "header.l1-table",
    "l1-short": "header.l1-table",
    "virtual-size": "header.virtual-size",
    "size-not-sectors": "header.oddity",
    "crypt-method": "header.crypt-method",
    "raw-data-file-bit": "header.raw-data-file",
    "extension-head": "header.extension",
    "extension-length": "header.extension",
    "extension-duplicate": "header.oddity",
    "bitmaps-length": "bitmap.extension",
    "bitmaps-missing": "header.oddity",
    "crypto-length": "header.crypto",
    "crypto-missing": "header.crypto",
    "crypto-unexpected": "header.crypto",
    "crypto-offset": "header.crypto",
    "data-file-missing": "header.data-file-name",
    "data-file-unexpected": "header.oddity",
}
"""The finding that stands for each rule of the header and its extensions."""


def check_header(facts: CheckFacts) -> None:
    """Judge the header, its extensions and flags."""
    image = facts.image
    for rule in (*broken_header_rules(image.header), *image.extensions.problems):
        _report_rule(facts, rule)
    _check_flags(facts)
    _check_named_files(facts)


def _report_rule(facts: CheckFacts, rule: BrokenRule) -> None:
    code = CODES[rule.rule]
    counted = rule.refused and not rule.open_only
    if counted:
        facts.refuse(rule.message)
    # An L1 table that cannot be read takes the whole disk with it.
    lost = facts.image.header.size if RULES[code].impact is Impact.UNREADABLE else None
    facts.log.add(
        Finding(
            code=code,
            message=rule.message,
            offset=rule.offset,
            table=_HEADER,
            value=rule.value,
            expected=rule.expected,
            count=int(counted),
            guest_offset=0 if lost else None,
            guest_length=lost or None,
        )
    )


def _check_flags(facts: CheckFacts) -> None:
    header = facts.image.header
    if IncompatibleFeature.DIRTY in header.incompatible:
        _report_flag(
            facts,
            "header.dirty",
            "incompatible_features",
            "the dirty flag is set: refcounts may be stale, and QEMU repairs the image by itself "
            "when it next opens it for writing",
        )
    if IncompatibleFeature.CORRUPT in header.incompatible:
        _report_flag(
            facts,
            "header.corrupt-flag",
            "incompatible_features",
            "the corrupt flag is set: QEMU opens the image for reading only",
        )
    if header.unknown_autoclear:
        _report_flag(
            facts,
            "header.autoclear",
            "autoclear_features",
            f"unknown autoclear bits {header.unknown_autoclear:#x}: a program that knows them "
            "wrote the image, and the first write by another one clears them",
        )


def _report_flag(facts: CheckFacts, code: str, field: str, message: str) -> None:
    facts.log.add(
        Finding(
            code=code,
            message=message,
            offset=FIELD_OFFSETS[field],
            table=_HEADER,
            value=int(getattr(facts.image.header, field)),
        )
    )


def _check_named_files(facts: CheckFacts) -> None:
    image = facts.image
    backing = image.backing_file
    if backing is not None:
        problem = image.resolver.backing_problem(image.name, backing)
        offset = FIELD_OFFSETS["backing_file_offset"]
        _report_file(facts, "backing.missing", "backing file", backing, offset, problem)
    data_file = image.extensions.data_file if image.header.has_data_file else None
    if data_file is not None:
        problem = image.resolver.data_file_problem(image.name, data_file)
        offset = FIELD_OFFSETS["incompatible_features"]
        _report_file(facts, "data-file.missing", "data file", data_file, offset, problem)


def _report_file(
    facts: CheckFacts, code: str, what: str, name: bytes, offset: int, problem: str | None
) -> None:
    if problem is None:
        return
    facts.refuse(f"the {what} {problem}")
    message = f"the {what} {shown(name)} {problem}"
    facts.log.add(Finding(code=code, message=message, offset=offset, table=_HEADER))
