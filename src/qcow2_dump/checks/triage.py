"""Leak triage: which leaks can be freed, and which may be guest data (repair rules, section 1).

A leak looks the same whether a program died before it could write a pointer, or a pointer to the
guest's data was lost. As long as anything in the image speaks for the second, nothing is freed.
"""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from qcow2_dump.checks.facts import CheckFacts
from qcow2_dump.checks.findings import Finding, Table, Triage
from qcow2_dump.checks.orphans import (
    LeakContents,
    examine_leaks,
    fills_a_gap,
    stale_bitmap_clusters,
)
from qcow2_dump.checks.pass_refcounts import LeakMap
from qcow2_dump.checks.pass_sharing import SharingFacts
from qcow2_dump.checks.result import LeakTriage

__all__ = ["UNUSABLE", "triage_leaks"]

UNUSABLE = (
    "file.truncated",
    "table.beyond-end",
    "l1.unaligned",
    "l1.beyond-end",
    "l1.no-offset",
    "l2.unaligned",
    "l2.beyond-end",
    "l2.copied-no-offset",
    "l2.compressed-bitmap",
    "l2.compressed-data-file",
    "l2.subclusters-unallocated",
    "snapshot.table",
    "snapshot.record",
    "snapshot.extra-data",
    "snapshot.l1-table",
    "snapshot.data-file",
    "snapshot.lost-table",
    "bitmap.extension",
    "bitmap.directory",
    "bitmap.table",
    "header.length",
    "header.backing-offset",
    "header.backing-name",
    "header.compression-type",
    "header.extended-l2",
    "header.refcount-order",
    "header.refcount-table",
    "header.l1-table",
    "header.virtual-size",
    "header.crypt-method",
    "header.raw-data-file",
    "header.extension",
    "header.crypto",
    "header.data-file-name",
    "check.incomplete",
)
"""Findings after which a leak may be what a lost or unread entry led to: rule (a)."""


def triage_leaks(facts: CheckFacts, leaks: LeakMap, sharing: SharingFacts) -> LeakTriage:
    """Judge the leaks, and put the judgement into their findings."""
    if not leaks.unreferenced and not leaks.overcounted:
        return LeakTriage()
    stale = stale_bitmap_clusters(facts)
    contents = examine_leaks(facts, leaks, stale)
    gap = fills_a_gap(facts, leaks)
    _report_tables(facts, contents.tables)
    empty = _report_empty_tables(facts, gap is not None)
    doubts = tuple(_doubts(facts, sharing, contents, gap, empty))
    missing = sharing.unstored > 0
    triage = LeakTriage(reasons=doubts)
    if missing:
        triage.reasons += ("mapped clusters have a refcount of 0",)
    spared = stale if facts.image.backing_file is not None else stale | contents.blank
    unreferenced, overcounted = len(leaks.unreferenced), len(leaks.overcounted)
    if doubts:
        triage.orphans = overcounted
    if triage.reasons:
        triage.orphans += unreferenced - len(spared)
    triage.waste = unreferenced + overcounted - triage.orphans
    _annotate(facts, leaks, spared, bool(triage.reasons), bool(doubts))
    return triage


def _doubts(
    facts: CheckFacts,
    sharing: SharingFacts,
    contents: LeakContents,
    gap: tuple[int, int] | None,
    empty: int,
) -> Iterator[str]:
    """Why leaks may be guest data, in words."""
    unusable = facts.log.places(*UNUSABLE)
    if unusable:
        yield _times(unusable, "a pointer or field of the image cannot be used")
    if empty:
        yield _times(empty, "an L2 table in use holds nothing but zeros")
    if contents.tables:
        yield _times(len(contents.tables), "a leaked cluster reads like a lost table")
    if sharing.conflicts:
        yield _times(sharing.conflicts, "a cluster has owners that exclude each other")
    if gap is not None:
        yield f"leaked clusters fit exactly into a gap at guest offset {gap[0]:#x}"


def _times(count: int, what: str) -> str:
    return what if count == 1 else f"{what} ({count:,} times)"


def _report_tables(facts: CheckFacts, clusters: list[int]) -> None:
    size = facts.space.cluster_size

    def make(i: int) -> Finding:
        offset = clusters[i] * size
        return Finding(
            code="leak.orphan-table",
            message=f"leaked cluster {clusters[i]} at {offset:#x} reads as an L1 or L2 table that "
            "leads to other leaked clusters",
            offset=offset,
            table=Table("l2", offset),
            cluster=clusters[i],
        )

    facts.log.add_many("leak.orphan-table", len(clusters), make, count=0)


def _report_empty_tables(facts: CheckFacts, gap_filled: bool) -> int:
    """Rule (b): tables in use that are all zeros; returns how many.

    The table behind the disk of the active layer is left out: there QEMU clears what a saved VM
    state used.
    """
    tables = facts.tables
    behind = facts.image.header.vm_state_l1_index
    chosen = tables.empty & tables.walked & ~tables.misread
    chosen &= (tables.l1_index < behind) | (tables.active == 0)
    filled = set(tables.l1_index[~tables.empty & tables.walked].tolist())
    empty = np.flatnonzero(chosen).tolist()
    for table in empty:
        wiped = gap_filled or _was_used(facts, table, filled)
        facts.log.add(_empty_finding(facts, table, wiped))
    return len(empty)


def _was_used(facts: CheckFacts, table: int, filled: set[int]) -> bool:
    """Whether an empty table is too old, or too widely used, to have been made just now."""
    tables = facts.tables
    offset = int(tables.offset[table])
    cluster = np.array([offset >> facts.space.cluster_bits], dtype=np.int64)
    return (
        facts.last_data > offset
        or int(facts.stored.values_of(cluster)[0]) > 1
        or int(tables.l1_index[table]) in filled
    )


def _empty_finding(facts: CheckFacts, table: int, wiped: bool) -> Finding:
    tables, geometry = facts.tables, facts.image.geometry
    offset, index = int(tables.offset[table]), int(tables.l1_index[table])
    labels, total = facts.trees_of_table(table)
    guest = index * geometry.l1_span
    what = "was wiped" if wiped else "was newly made when the machine died, or wiped"
    return Finding(
        code="l2.wiped" if wiped else "l2.empty",
        message=f"the L2 table at {offset:#x} is in use but all zeros: it {what}",
        offset=offset,
        table=Table("l2", offset),
        l1_index=index,
        trees=labels,
        trees_total=total,
        guest_offset=guest,
        guest_length=facts.guest_length(guest, geometry.l1_span),
    )


def _annotate(
    facts: CheckFacts, leaks: LeakMap, spared: set[int], keep: bool, keep_overcounted: bool
) -> None:
    """Say of each leak that is listed whether it is waste."""
    kept = facts.log.kept("refcount.leak")
    clusters = np.array([finding.cluster for finding in kept], dtype=np.int64)
    unreferenced = leaks.unreferenced.contains(clusters).tolist()
    judged: list[Finding] = []
    for finding, alone in zip(kept, unreferenced, strict=True):
        orphan = keep and finding.cluster not in spared if alone else keep_overcounted
        triage: Triage = "orphan" if orphan else "waste"
        judged.append(replace(finding, triage=triage))
    facts.log.replace("refcount.leak", judged)
