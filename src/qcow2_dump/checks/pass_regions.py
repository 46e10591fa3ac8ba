"""The metadata outside of the L2 tables: where it lies, and its claims (format section 8.3).

Covers the header, the L1 tables, the snapshot table, the refcount table, the LUKS header and the
bitmaps. Refcount blocks come last of all (`pass_refcounts`), L2 tables with the L1 entries.
"""

from collections import Counter
from collections.abc import Iterator

from qcow2_dump.checks.facts import LISTED_TREES, CheckFacts, Region
from qcow2_dump.checks.findings import Finding, Table
from qcow2_dump.checks.pass_bitmaps import bitmap_clusters, bitmap_regions
from qcow2_dump.checks.trees import Tree
from qcow2_dump.ondisk.constants import MAX_READABLE_OFFSET
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
        for _, offsets in bitmap_clusters(facts, directory, report=True):
            facts.references.claim(facts.cluster_indices(offsets), 1, 1)


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
    if crypto is not None and crypto.length and crypto.offset <= MAX_READABLE_OFFSET:
        yield Region("luks", crypto.offset, crypto.length, FIELD_OFFSETS["crypt_method"])
    if image.bitmaps_valid and image.bitmap_directory is not None:
        yield from bitmap_regions(image.bitmap_directory)


def _l1_pointer(facts: CheckFacts, tree: Tree) -> int:
    if tree.index is None:
        return FIELD_OFFSETS["l1_table_offset"]
    return facts.image.snapshot_table.entries[tree.index].offset


def _claim_all(facts: CheckFacts) -> None:
    space = facts.space
    # Thousands of snapshots can name one L1 table: claim it once, with their number as weight.
    times = Counter((region.kind, region.offset, region.length) for region in facts.regions)
    seen: set[tuple[str, int, int]] = set()
    for region in facts.regions:
        key = (region.kind, region.offset, region.length)
        if key in seen:
            continue
        seen.add(key)
        weight = times[key]
        beyond = space.is_beyond(region.offset, region.length)
        if region.offset + region.length > space.end:
            _report_beyond(facts, region, weight if beyond else 0, weight)
        if not beyond:
            facts.references.claim_range(*space.span(region.offset, region.length), weight, 1)


def _report_beyond(facts: CheckFacts, region: Region, count: int, times: int) -> None:
    missing = region.offset + region.length - max(region.offset, facts.space.length)
    how = "all" if region.offset >= facts.space.length else f"the last {missing} bytes"
    lost = _guest_range(facts, region)
    facts.log.add(
        Finding(
            code="table.beyond-end",
            message=f"{_NAMES[region.kind]} at {region.offset:#x}, {region.length} bytes: {how} of "
            f"it lies past the end of the file at {facts.space.length:#x}; {_READ_AS_ZEROS}",
            offset=region.place,
            table=Table(region.kind, region.offset),
            trees=() if region.tree is None else _trees_at(facts, region),
            trees_total=0 if region.tree is None else times,
            count=count,
            value=region.offset,
            guest_offset=lost[0] if lost else None,
            guest_length=lost[1] if lost else None,
        )
    )


def _trees_at(facts: CheckFacts, region: Region) -> tuple[str, ...]:
    same = (r.tree for r in facts.regions if (r.kind, r.offset) == (region.kind, region.offset))
    labels = dict.fromkeys(label for label in same if label is not None)
    return tuple(labels)[:LISTED_TREES]


def _guest_range(facts: CheckFacts, region: Region) -> tuple[int, int] | None:
    """The guest range whose mapping lies past the end: offset and length in bytes."""
    if region.kind != "l1":
        return None
    first = max(0, facts.space.length - region.offset) // 8
    start = first * facts.image.geometry.l1_span
    length = facts.guest_length(start, (region.length // 8 - first) * facts.image.geometry.l1_span)
    return (start, length) if length else None
