"""The metadata outside of the L2 tables: where it lies, and its claims (format section 8.3).

Covers the header, the L1 tables, the snapshot table, the refcount table, the LUKS header and the
bitmaps. Refcount blocks come last of all (`pass_refcounts`), L2 tables with the L1 entries.
"""

from collections.abc import Iterator

import numpy as np

from qcow2_dump.checks.facts import CheckFacts, Region
from qcow2_dump.checks.findings import Finding, Table
from qcow2_dump.checks.pass_bitmaps import bitmap_regions, claim_bitmap_data
from qcow2_dump.checks.tables.segments import segments_of
from qcow2_dump.checks.trees import LISTED_TREES, Tree
from qcow2_dump.ondisk.constants import MAX_READABLE_OFFSET, ExtensionType
from qcow2_dump.ondisk.header import FIELD_OFFSETS

__all__ = ["claim_regions"]

# What lies past the end in these takes guest data with it, and how much it says.
_READ_AS_ZEROS = "what is missing reads as zeros"

_NAMES = {
    "header": "the header",
    "l1": "the L1 table",
    "snapshot_table": "the snapshot table",
    "refcount_table": "the refcount table",
    "luks": "the LUKS header",
    "bitmap_directory": "the bitmap directory",
    "bitmap_table": "a bitmap table",
}


def claim_regions(facts: CheckFacts) -> None:
    """Find the regions, judge where they lie, and count their claims."""
    facts.regions = list(_regions(facts))
    _claim_all(facts)
    directory = facts.image.bitmap_directory if facts.image.bitmaps_valid else None
    if directory is not None:
        claim_bitmap_data(facts, directory)


def _regions(facts: CheckFacts) -> Iterator[Region]:
    image = facts.image
    header = image.header
    yield Region("header", 0, image.geometry.cluster_size, 0)
    for tree in facts.trees:
        if tree.usable and tree.l1_size:
            place = _l1_pointer(facts, tree)
            yield Region("l1", tree.l1_offset, 8 * tree.l1_size, place, tree.label)
    table = image.snapshot_table
    if table.entries and table.length:
        place = FIELD_OFFSETS["snapshots_offset"]
        yield Region("snapshot_table", table.offset, table.length, place)
    length = 8 * len(facts.stored.entries)
    if length:
        place = FIELD_OFFSETS["refcount_table_offset"]
        yield Region("refcount_table", header.refcount_table_offset, length, place)
    crypto = image.extensions.crypto
    extension = image.extensions.last(ExtensionType.CRYPTO)
    if crypto is not None and crypto.length and crypto.offset <= MAX_READABLE_OFFSET:
        place = extension.offset + 8 if extension is not None else 0  # behind type and length
        yield Region("luks", crypto.offset, crypto.length, place)
    if image.bitmaps_valid and image.bitmap_directory is not None:
        yield from bitmap_regions(facts, image.bitmap_directory)


def _l1_pointer(facts: CheckFacts, tree: Tree) -> int:
    if tree.index is None:
        return FIELD_OFFSETS["l1_table_offset"]
    return facts.image.snapshot_table.entries[tree.index].offset


def _claim_all(facts: CheckFacts) -> None:
    space = facts.space
    counted = [r for r in facts.regions if not space.is_beyond(r.offset, r.length)]
    # Thousands of tables can lie in one place: each stretch is claimed once, by all of them.
    claims = segments_of([space.span(region.offset, region.length) for region in counted])
    one_owner = np.ones_like(claims.weight)
    facts.references.claim_runs(claims.start, claims.end, claims.weight, one_owner)
    _report_all_beyond(facts)


def _report_all_beyond(facts: CheckFacts) -> None:
    """Report each distinct region that ends past the end of the file."""
    found: dict[tuple[str, int, int], list[Region]] = {}
    for region in facts.regions:
        if region.offset + region.length > facts.space.end:
            found.setdefault((region.kind, region.offset, region.length), []).append(region)
    for same in found.values():
        _report_beyond(facts, same)


def _report_beyond(facts: CheckFacts, same: list[Region]) -> None:
    """Report regions of one kind in one place; QEMU counts each, unless the end is near."""
    count = len(same) if facts.space.is_beyond(same[0].offset, same[0].length) else 0
    lost = _guest_range(facts, same[0])

    def make(_: int) -> Finding:
        return _beyond_finding(facts, same, lost, count)

    facts.log.add_many("table.beyond-end", 1, make, count=count, guest_bytes=lost[1] if lost else 0)


def _beyond_finding(
    facts: CheckFacts, same: list[Region], lost: tuple[int, int] | None, count: int
) -> Finding:
    region = same[0]
    missing = region.offset + region.length - max(region.offset, facts.space.length)
    whole = region.offset >= facts.space.length
    how = "all of it lies" if whole else f"its last {missing} bytes lie"
    labels = dict.fromkeys(r.tree for r in same if r.tree is not None)
    return Finding(
        code="table.beyond-end",
        message=f"{_NAMES[region.kind]} at {region.offset:#x}, {region.length} bytes: {how} "
        f"past the end of the file at {facts.space.length:#x}; {_READ_AS_ZEROS}",
        offset=region.place,
        table=Table(region.kind, region.offset),
        trees=tuple(labels)[:LISTED_TREES],
        trees_total=0 if region.tree is None else len(same),
        count=count,
        value=region.offset,
        guest_offset=lost[0] if lost else None,
        guest_length=lost[1] if lost else None,
    )


def _guest_range(facts: CheckFacts, region: Region) -> tuple[int, int] | None:
    """The guest range whose mapping lies past the end: offset and length in bytes."""
    if region.kind != "l1":
        return None
    first = max(0, facts.space.length - region.offset) // 8
    start = first * facts.image.geometry.l1_span
    length = facts.guest_length(start, (region.length // 8 - first) * facts.image.geometry.l1_span)
    return (start, length) if length else None
