"""Leak triage: which leaks can be freed, and which may be guest data (repair rules, section 1).

A leak looks the same whether a program died before it could write a pointer, or a pointer to the
guest's data was lost. As long as anything in the image speaks for the second, nothing is freed.
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from qcow2_dump.checks.bitset import BitSet
from qcow2_dump.checks.facts import CheckFacts
from qcow2_dump.checks.findings import Triage
from qcow2_dump.checks.leaks.gaps import Gaps, find_gaps
from qcow2_dump.checks.leaks.leftovers import clusters_within
from qcow2_dump.checks.leaks.lost_references import lost_by_active
from qcow2_dump.checks.leaks.orphans import examine_leaks, stale_bitmap_clusters, tables_in_slack
from qcow2_dump.checks.leaks.stream_overlaps import overlapping_streams
from qcow2_dump.checks.leaks.suspect_tables import report_empty_tables, report_lost_tables
from qcow2_dump.checks.pass_refcounts import LeakMap
from qcow2_dump.checks.pass_sharing import SharingFacts
from qcow2_dump.checks.result import LeakTriage

__all__ = ["UNUSABLE", "LeakJudgement", "judge_leaks", "triage_leaks"]

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
    "bitmap.beyond-end",
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


class LeakJudgement(NamedTuple):
    """Which leaks may be guest data.

    ``doubts`` are the reasons, in words, to keep every leak, ``unstored`` and ``unread`` reasons
    to keep only unreferenced ones: all of them, or the clusters that were not looked at.
    ``spared`` are unreferenced leaks that are waste whatever the reasons, ``remembered`` leaks of
    any kind that an earlier repair kept.
    """

    doubts: tuple[str, ...]
    unstored: bool
    unread: BitSet
    spared: BitSet
    remembered: BitSet

    def keeps(self, clusters: NDArray[np.int64], *, referenced: bool) -> NDArray[np.bool_]:
        """Which leaked clusters are orphans; all of them over-counted, or all unreferenced."""
        if self.doubts and referenced:
            return np.ones(len(clusters), dtype=np.bool_)
        if (self.doubts or self.unstored) and not referenced:
            return ~self.spared.contains(clusters)
        remembered = self.remembered.contains(clusters)
        return remembered if referenced else remembered | self.unread.contains(clusters)

    def summary(self, leaks: LeakMap) -> LeakTriage:
        """The judgement in numbers."""
        total = len(leaks.unreferenced) + len(leaks.overcounted)
        orphans = self._kept_of(leaks.unreferenced, referenced=False)
        orphans += self._kept_of(leaks.overcounted, referenced=True)
        return LeakTriage(self.reasons, total - orphans, orphans)

    def _kept_of(self, leaked: BitSet, *, referenced: bool) -> int:
        """How many leaked clusters of one kind `keeps` takes for orphans."""
        if self.doubts and referenced:
            return len(leaked)
        if (self.doubts or self.unstored) and not referenced:
            return len(leaked) - leaked.common_with(self.spared)
        return sum(
            int(np.count_nonzero(self.keeps(chunk, referenced=referenced)))
            for chunk in leaked.chunks()
        )

    @property
    def reasons(self) -> tuple[str, ...]:
        """All reasons, in words."""
        found = self.doubts
        if self.unstored:
            found += ("mapped clusters have a refcount of 0",)
        if unread := len(self.unread):
            found += (f"{unread:,} leaked clusters were too many to look into",)
        if self.remembered:
            found += ("an earlier repair kept leaked clusters for reasons that are gone by now",)
        return found


def triage_leaks(facts: CheckFacts, leaks: LeakMap, sharing: SharingFacts) -> LeakJudgement | None:
    """Judge the leaks, and put the judgement into their findings; None where nothing leaks."""
    if not leaks.unreferenced and not leaks.overcounted:
        return None
    judgement = judge_leaks(facts, leaks, sharing)
    _annotate(facts, leaks, judgement)
    return judgement


def judge_leaks(facts: CheckFacts, leaks: LeakMap, sharing: SharingFacts) -> LeakJudgement:
    """Look for every reason to keep leaks; reports lost and empty tables on the way."""
    size, leftovers = facts.space.cluster_size, facts.image.leftovers
    stale = stale_bitmap_clusters(facts, leaks)
    for clusters in clusters_within(leftovers.replaced, size, leaks.unreferenced).chunks():
        stale.add(clusters)
    contents = examine_leaks(facts, leaks, stale)
    gaps = find_gaps(facts, leaks)
    report_lost_tables(facts, contents.tables)
    empty = report_empty_tables(facts, gap_filled=gaps.filled is not None)
    spared = stale
    if not _hides_a_backing_file(facts):
        # Of two sets only one takes memory, nearly always.
        spared = contents.blank
        for clusters in stale.chunks():
            spared.add(clusters)
    remembered = clusters_within(leftovers.kept, size, leaks.overcounted)
    for clusters in clusters_within(leftovers.kept, size, leaks.unreferenced).chunks():
        remembered.add(clusters[~spared.contains(clusters)])
    return LeakJudgement(
        doubts=tuple(_doubts(facts, leaks, sharing, len(contents.tables), gaps, empty)),
        unstored=sharing.unstored > 0,
        unread=contents.unread,
        spared=spared,
        remembered=remembered,
    )


def _hides_a_backing_file(facts: CheckFacts) -> bool:
    """Whether zeros mean something: they hide a backing file, even one whose name is lost."""
    image = facts.image
    return bool(image.header.backing_file_offset) or image.extensions.backing_format is not None


def _doubts(
    facts: CheckFacts,
    leaks: LeakMap,
    sharing: SharingFacts,
    tables: int,
    gaps: Gaps,
    empty: int,
) -> Iterator[str]:
    """Why leaks may be guest data, in words: rules (a) to (e), and what else says so."""
    unusable = facts.log.places(*UNUSABLE)
    if unusable:
        yield _times(unusable, "a pointer or field of the image cannot be used")
    if empty:
        yield _times(empty, "an L2 table in use holds nothing but zeros")
    if tables:
        yield _times(tables, "a leaked cluster reads like a lost table")
    if sharing.conflicts:
        yield _times(sharing.conflicts, "a cluster has owners that exclude each other")
    if gaps.filled is not None:
        yield f"leaked clusters fit exactly into a gap at guest offset {gaps.filled[0]:#x}"
    elif gaps.wiped is not None:
        yield f"whole sectors of a table are empty beside leaks at guest offset {gaps.wiped[0]:#x}"
    slack = tables_in_slack(facts, leaks)
    if slack:
        yield _times(slack, "behind the end of a table lies what reads like another, lost one")
    overlaps = overlapping_streams(facts)
    if overlaps:
        yield _times(overlaps, "a compressed cluster begins inside another one")
    lost = lost_by_active(facts, leaks)
    if lost is not None:
        yield f"a snapshot still has what the active layer lost at guest offset {lost:#x}"


def _times(count: int, what: str) -> str:
    return what if count == 1 else f"{what} ({count:,} times)"


def _annotate(facts: CheckFacts, leaks: LeakMap, judgement: LeakJudgement) -> None:
    """Say of each leak that is listed whether it is waste."""
    kept = facts.log.kept("refcount.leak")
    clusters = np.array([finding.cluster for finding in kept], dtype=np.int64)
    orphan = np.where(
        leaks.unreferenced.contains(clusters),
        judgement.keeps(clusters, referenced=False),
        judgement.keeps(clusters, referenced=True),
    )
    words: tuple[Triage, Triage] = ("waste", "orphan")
    judged = [replace(f, triage=words[o]) for f, o in zip(kept, orphan.tolist(), strict=True)]
    facts.log.replace("refcount.leak", judged)
