"""The snapshot table and its records (format section 5.3).

Leaves what is below a record's L1 table to the walk, and the table's own clusters to the regions.
"""

from collections import Counter

import numpy as np

from qcow2_dump.checks.facts import CheckFacts
from qcow2_dump.checks.findings import Finding, Table
from qcow2_dump.checks.trees import tree_label
from qcow2_dump.image.shown_names import shown
from qcow2_dump.image.tables import SnapshotEntry, read_snapshot_table
from qcow2_dump.ondisk.constants import MAX_READABLE_OFFSET, MAX_SNAPSHOTS
from qcow2_dump.ondisk.header import FIELD_OFFSETS
from qcow2_dump.ondisk.rules import BrokenRule
from qcow2_dump.ondisk.snapshots import snapshot_record_rules

__all__ = ["check_snapshots"]

_CODES = {
    "snapshot-extra-short": "snapshot.extra-data",
    "snapshot-extra-long": "snapshot.record",
    "snapshot-l1-size": "snapshot.l1-table",
    "snapshot-l1-offset": "snapshot.l1-table",
    "snapshot-ghost": "snapshot.record",
    "snapshot-disk-size": "snapshot.disk-size",
}
_COUNTED = {"snapshot.extra-data", "snapshot.l1-table"}


def check_snapshots(facts: CheckFacts) -> None:
    """Judge the snapshot table and every record in it."""
    table = facts.image.snapshot_table
    for entry in table.entries:
        seen: set[str] = set()
        for rule in snapshot_record_rules(entry.record, facts.image.header):
            # QEMU counts an L1 table once, however many of its fields are wrong.
            code = _CODES[rule.rule]
            _report_record(facts, entry, rule, counted=code in _COUNTED - seen)
            seen.add(code)
    if table.dropped and facts.image.header.nb_snapshots <= MAX_SNAPSHOTS:
        _report_dropped(facts, table.dropped)
    _check_duplicates(facts)
    _check_data_file(facts)
    if not facts.image.header.nb_snapshots and facts.image.header.snapshots_offset:
        _check_lost_table(facts)


def _report_record(
    facts: CheckFacts, entry: SnapshotEntry, rule: BrokenRule, *, counted: bool
) -> None:
    too_far = rule.rule == "snapshot-l1-offset" and facts.image.geometry.is_aligned(rule.value)
    if rule.refused or too_far:
        facts.refuse(f"snapshot record {entry.position}: {rule.message}")
    facts.log.add(
        Finding(
            code=_CODES[rule.rule],
            message=f"snapshot record {entry.position}: {rule.message}",
            offset=entry.offset + rule.offset,
            table=Table("snapshot_table", facts.image.snapshot_table.offset),
            trees=(tree_label(entry.record.id),),
            trees_total=1,
            count=int(counted or rule.refused),
            value=rule.value,
            expected=rule.expected,
        )
    )


def _report_dropped(facts: CheckFacts, dropped: int) -> None:
    """Records that the header promises but that cannot be reached."""
    header = facts.image.header
    if not facts.image.geometry.is_aligned(header.snapshots_offset):
        return  # told as a broken rule of the header
    message = f"{dropped} of {header.nb_snapshots} snapshot records lie past the table's limits"
    facts.refuse(message)
    facts.log.add(
        Finding(
            code="snapshot.table",
            message=message,
            offset=FIELD_OFFSETS["nb_snapshots"],
            table=Table("snapshot_table", header.snapshots_offset),
            count=1,
            value=header.nb_snapshots,
            expected=header.nb_snapshots - dropped,
        )
    )


def _check_duplicates(facts: CheckFacts) -> None:
    entries = facts.image.snapshot_table.entries
    for field in ("id", "name"):
        times = Counter(getattr(entry.record, field) for entry in entries)
        seen: set[bytes] = set()
        for entry in entries:
            value: bytes = getattr(entry.record, field)
            if value in seen and times[value] > 1 and (value or field == "id"):
                repeated = f"repeats the {field} {shown(value)}"
                facts.log.add(
                    Finding(
                        code=f"snapshot.duplicate-{field}",
                        message=f"snapshot record {entry.position} {repeated}",
                        offset=entry.offset,
                        table=Table("snapshot_table", facts.image.snapshot_table.offset),
                        trees=(tree_label(entry.record.id),),
                        trees_total=1,
                    )
                )
            seen.add(value)


def _check_data_file(facts: CheckFacts) -> None:
    header = facts.image.header
    if header.has_data_file and header.nb_snapshots:
        facts.log.add(
            Finding(
                code="snapshot.data-file",
                message=f"{header.nb_snapshots} internal snapshots although guest data lies in an "
                "external data file, which they cannot protect",
                offset=FIELD_OFFSETS["nb_snapshots"],
                table=Table("header", 0),
                count=1,
                value=header.nb_snapshots,
                expected=0,
            )
        )


def _check_lost_table(facts: CheckFacts) -> None:
    """No snapshots are counted, but the place where the table was still holds a record.

    QEMU leaves such a pointer behind when the last snapshot goes; only a cluster that is still
    allocated, though nothing refers to it, is a table that was lost.
    """
    image = facts.image
    offset = image.header.snapshots_offset
    if not image.geometry.is_aligned(offset) or offset >= facts.space.end:
        return
    found = read_snapshot_table(image.source, image.header, count=1).entries
    if not found:
        return
    record = found[0].record
    plausible = (
        record.id
        and record.l1_size
        and record.l1_table_offset
        and image.geometry.is_aligned(record.l1_table_offset)
        and record.l1_table_offset + 8 * record.l1_size <= min(facts.space.end, MAX_READABLE_OFFSET)
    )
    cluster = np.array([offset >> facts.space.cluster_bits], dtype=np.int64)
    if plausible and facts.stored.values_of(cluster)[0]:
        facts.log.add(
            Finding(
                code="snapshot.lost-table",
                message="the header counts no snapshots, but a snapshot record can still be read "
                f"at {offset:#x}",
                offset=FIELD_OFFSETS["nb_snapshots"],
                table=Table("snapshot_table", offset),
                value=0,
            )
        )
