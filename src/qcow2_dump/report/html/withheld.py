"""What of a check may stand on a page that is handed on: nothing that may be the guest's data.

Where a pointer leads to the wrong place, what reads as a table entry, a refcount or a record are
bytes of the guest. A page says where such a thing lies and what is wrong with it, in the words of
the catalogue, and quotes neither its value nor a name in it.
"""

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import replace

from qcow2_dump.checks.findings import Claimant, Finding
from qcow2_dump.checks.result import CheckResult
from qcow2_dump.checks.trees import tree_label
from qcow2_dump.image.image import Image
from qcow2_dump.image.tables import BitmapItem, SnapshotEntry
from qcow2_dump.ondisk.bitmaps import bitmap_entry_rules
from qcow2_dump.ondisk.snapshots import SnapshotRecord, snapshot_record_rules
from qcow2_dump.report.places import TABLE_NAMES

__all__ = ["renamed_trees", "shown_bitmaps", "shown_entries", "shown_result", "unusable"]

_UNUSABLE = {"snapshot-extra-long", "snapshot-l1-size", "snapshot-l1-offset", "snapshot-ghost"}

# The header is where it is, whatever a pointer says.
_FIXED = {"header", "file"}

# Their messages tell positions and counts only.
_WITHOUT_VALUES = {
    "check.incomplete",
    "l2.empty",
    "l2.misread",
    "l2.wiped",
    "leak.orphan-table",
    "refcount.beyond-end",
    "refcount.block-missing",
    "snapshot.lost-table",
    "snapshot.table",
}

# A greater one could be letters.
_LARGEST_REFCOUNT = 8


def shown_result(
    result: CheckResult, image: Image, entries: Sequence[SnapshotEntry]
) -> CheckResult:
    """The same result, whose findings and refusal quote no value of a table or a record.

    ``entries`` are those of `shown_entries`.
    """
    labels = renamed_trees(image, entries)
    findings = [_shown(finding, image, labels) for finding in result.findings]
    return replace(result, findings=findings, refusal=_refusal(result.refusal))


def shown_entries(image: Image) -> tuple[SnapshotEntry, ...]:
    """The snapshots, those with unusable records called by their position alone."""
    return tuple(
        entry
        if _is_usable(entry.record, image)
        else entry._replace(record=replace(entry.record, id=b"[%d]" % entry.position, name=b""))
        for entry in image.snapshot_table.entries
    )


def unusable(image: Image, entries: Sequence[SnapshotEntry]) -> set[int]:
    """The positions of the snapshots whose records cannot be used."""
    both = zip(image.snapshot_table.entries, entries, strict=True)
    return {one.position for one, other in both if one is not other}


def renamed_trees(image: Image, entries: Sequence[SnapshotEntry]) -> dict[str, str]:
    """What the trees of unusable records are called here, by what they are called elsewhere."""
    return {
        tree_label(one.record.id): tree_label(other.record.id)
        for one, other in zip(image.snapshot_table.entries, entries, strict=True)
        if one is not other
    }


def _is_usable(record: SnapshotRecord, image: Image) -> bool:
    """Whether a snapshot record can be one: bytes from elsewhere break its rules."""
    return not any(rule.rule in _UNUSABLE for rule in snapshot_record_rules(record, image.header))


def shown_bitmaps(bitmaps: tuple[BitmapItem, ...], image: Image) -> tuple[BitmapItem, ...]:
    """The bitmaps whose entries in the directory keep every rule."""
    geometry, length = image.geometry, image.header.size
    return tuple(
        item
        for item in bitmaps
        if next(iter(bitmap_entry_rules(item.entry, geometry, length)), None) is None
    )


def _shown(finding: Finding, image: Image, labels: Mapping[str, str]) -> Finding:
    if labels:
        claimants = tuple(_renamed(claimant, labels) for claimant in finding.claimants)
        trees = _renamed_trees(finding.trees, labels)
        finding = replace(finding, claimants=claimants, trees=trees)
    table = finding.table
    if table is not None and table.kind in _FIXED:
        return finding
    rule = finding.rule
    words = rule.tell(1).removeprefix("1 ")
    if rule.in_clusters:
        large = finding.value is not None and finding.value > _LARGEST_REFCOUNT
        return replace(finding, message=words, value=None if large else finding.value)
    if finding.code in _WITHOUT_VALUES:
        return replace(finding, value=None)
    if finding.code == "table.beyond-end":
        named_in_header = (finding.offset or 0) < image.header.header_length
        return finding if named_in_header else replace(finding, message=words, table=None)
    if table is None or table.kind not in ("l1", "l2"):
        place = _place(finding, image)
        words = f"{place}: {words}" if place else words
    return replace(finding, message=words, value=None, expected=None)


def _renamed(claimant: Claimant, labels: Mapping[str, str]) -> Claimant:
    return replace(claimant, trees=_renamed_trees(claimant.trees, labels))


def _renamed_trees(trees: tuple[str, ...], labels: Mapping[str, str]) -> tuple[str, ...]:
    return tuple(labels.get(tree, tree) for tree in trees)


def _place(finding: Finding, image: Image) -> str:
    """Which entry or record it is, as a message would say it."""
    table, offset = finding.table, finding.offset
    if table is None or offset is None:
        return ""
    if table.kind in ("refcount_table", "bitmap_table"):
        return f"{TABLE_NAMES[table.kind]} entry {(offset - table.offset) // 8:,}"
    if table.kind == "snapshot_table":
        return f"snapshot record {_holding(image.snapshot_table.entries, offset)}"
    directory = image.bitmap_directory
    if table.kind == "bitmap_directory" and directory is not None:
        return f"bitmap directory entry {_holding(directory.entries, offset)}"
    return TABLE_NAMES.get(table.kind, "")


def _holding(records: Sequence[SnapshotEntry | BitmapItem], offset: int) -> int:
    """The position of the record in which a field lies."""
    return max(0, bisect_right(records, offset, key=lambda record: record.offset) - 1)


def _refusal(reason: str | None) -> str | None:
    """Why QEMU would refuse the image, without what it quotes of a record or a directory."""
    if reason is None:
        return None
    if reason.startswith("snapshot record "):
        return f"{reason.partition(':')[0]} cannot be used"
    if reason.startswith("bitmap directory: "):
        return "the bitmap directory cannot be used"
    return "the description of a bitmap cannot be used" if reason.startswith("bitmap ") else reason
