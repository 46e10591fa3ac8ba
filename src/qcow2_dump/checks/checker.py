"""The check from beginning to end: the passes, in the order in which they need each other.

1. header, snapshot table, bitmaps: what their fields say;
2. stored refcounts: whose is exactly 1, for the COPIED flags;
3. claims: metadata regions, L1 entries, one walk over the distinct L2 tables, refcount blocks;
4. stored against counted refcounts;
5. what QEMU does not look for: the end of the file, clusters with several owners, streams;
6. triage of the leaks.
"""

from collections.abc import Iterator, Sequence

import numpy as np

from qcow2_dump.checks.catalogue import Severity
from qcow2_dump.checks.counting import count_and_compare, walk_trees
from qcow2_dump.checks.facts import CheckFacts
from qcow2_dump.checks.findings import FindingLog
from qcow2_dump.checks.leaks.triage import LeakJudgement, triage_leaks
from qcow2_dump.checks.mapping.tree_statistics import tree_statistics
from qcow2_dump.checks.pass_beyond import check_beyond_end
from qcow2_dump.checks.pass_bitmaps import check_bitmaps
from qcow2_dump.checks.pass_deep import check_streams
from qcow2_dump.checks.pass_header import check_header
from qcow2_dump.checks.pass_refcounts import LeakMap
from qcow2_dump.checks.pass_sharing import SharingFacts, check_sharing
from qcow2_dump.checks.pass_snapshots import check_snapshots
from qcow2_dump.checks.result import CheckResult, LeakTriage
from qcow2_dump.checks.steps import Step, steps_of
from qcow2_dump.checks.trees import Tree
from qcow2_dump.checks.windows import Windows
from qcow2_dump.image.image import Image

__all__ = ["Checker"]

# Just below what glibc lets the threshold rise to.
_SCRATCH_BYTES = 30 << 20


class Checker:
    """Checks one image. ``run`` does the work, ``result`` says what was found so far.

    ``facts``, ``leaks``, ``sharing`` and ``judgement`` (None without leaks) are for planners, which
    cannot work from findings: these are capped.

    Given ``only`` some of its trees, nothing can be said of refcounts and of what depends on
    them: COPIED flags, leaks, clusters with several owners. The header, the snapshot table, the
    bitmaps and the tables of these trees are judged.

    With ``memory``, a budget in bytes, clusters are counted window by window where all of them
    would not fit, and ``facts`` is left without the counts that planners and listings need.
    """

    def __init__(
        self,
        image: Image,
        *,
        deep: bool = False,
        max_findings: int = 1000,
        only: Sequence[Tree] | None = None,
        memory: int | None = None,
    ) -> None:
        self._image = image
        self._deep = deep
        self._only = only
        self._memory = memory
        self._complete = False
        self.judgement: LeakJudgement | None = None
        self.leaks = LeakMap(0)
        self.sharing = SharingFacts()
        ignored = frozenset[str]() if only is None else _needs_refcounts(image)
        self.log = FindingLog(limit=max_findings, ignored=ignored)
        self.facts = CheckFacts.of(image, self.log, only)

    def run(self) -> Iterator[Step]:
        """Check the image, step by step. Raises SourceError when it cannot be read."""
        _keep_scratch_memory()
        facts = self.facts
        check_header(facts)
        check_snapshots(facts)
        check_bitmaps(facts)
        clusters = facts.space.clusters + 1
        yield from steps_of("refcounts", self._block_bytes, facts.stored.note_ones(clusters))
        if self._only is None:
            yield from self._compare()
        else:
            yield from walk_trees(facts)
            if self._deep:
                yield from self._read_streams()
        self._complete = True

    def _compare(self) -> Iterator[Step]:
        """All that takes a walk over every tree."""
        facts = self.facts
        self.leaks = LeakMap(facts.references.size)
        windows = Windows.of(facts, self._memory)
        yield from count_and_compare(facts, self.leaks, windows)
        check_beyond_end(facts)
        yield from steps_of("owners", self._table_bytes, check_sharing(facts, self.sharing))
        if self._deep:
            yield from self._read_streams()
        self.judgement = triage_leaks(facts, self.leaks, self.sharing)

    def _read_streams(self) -> Iterator[Step]:
        yield from steps_of("streams", self._table_bytes, check_streams(self.facts))

    @property
    def _block_bytes(self) -> int:
        return self.facts.clusters * self._image.geometry.refcount_bits // 8

    @property
    def _table_bytes(self) -> int:
        walked = int(np.count_nonzero(self.facts.tables.walked))
        return walked * self._image.geometry.cluster_size

    def result(self) -> CheckResult:
        """What was found, so far or in all."""
        facts = self.facts
        statistics = facts.statistics
        statistics.total_clusters = facts.image.geometry.total_clusters(facts.image.header.size)
        statistics.corruptions = self.log.count(Severity.CORRUPTION)
        statistics.leaks = self.log.count(Severity.LEAK)
        listed = self.log.listed()
        directory = facts.image.bitmap_directory if facts.image.bitmaps_valid else None
        return CheckResult(
            cluster_size=facts.image.geometry.cluster_size,
            statistics=statistics,
            trees=tree_statistics(facts),
            refcount_table=facts.refcount_table,
            refcounts=facts.refcounts,
            triage=LeakTriage() if self.judgement is None else self.judgement.summary(self.leaks),
            tallies=self.log.tallies,
            findings=listed,
            omitted=self.log.total - len(listed),
            refusal=facts.refusals[0] if facts.refusals else None,
            complete=self._complete,
            bitmaps=len(directory.entries) if directory else 0,
        )


def _needs_refcounts(image: Image) -> frozenset[str]:
    """What the walk reports although it cannot be judged without the refcounts."""
    if image.header.has_data_file:
        # COPIED is part of every entry into a data file, whose clusters have no refcounts.
        return frozenset({"l1.copied"})
    return frozenset({"l1.copied", "l2.copied"})


def _keep_scratch_memory() -> None:
    """Have the C library keep the memory of the walk's short-lived arrays.

    glibc maps and unmaps large arrays at every use, until one is freed: from then on arrays of up
    to its size stay in the heap. Freeing one that nobody touches costs nothing, and spares most of
    the system time of a check.
    """
    np.empty(_SCRATCH_BYTES, dtype=np.uint8)
