"""Count all references and compare them with the stored refcounts, in one walk or in several.

Where the counters of all clusters do not fit the memory budget, or one of them overflows, what
refers to clusters is walked again. All that a walk judges is judged in the first one; the others
only count. What comes out is the same for every budget.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from qcow2_dump.checks.facts import CheckFacts
from qcow2_dump.checks.kept_references import KeptReferences
from qcow2_dump.checks.pass_blocks import claim_blocks, judge_blocks, report_shared_blocks
from qcow2_dump.checks.pass_l1 import check_l1, claim_l2_tables
from qcow2_dump.checks.pass_l2 import check_l2
from qcow2_dump.checks.pass_refcounts import LeakMap, RefcountComparison
from qcow2_dump.checks.pass_regions import claim_regions
from qcow2_dump.checks.pass_sharing import suspects_examined
from qcow2_dump.checks.refcount_map import RefcountMap
from qcow2_dump.checks.steps import Step, steps_of
from qcow2_dump.checks.windows import Windows

__all__ = ["count_and_compare", "walk_trees"]

_WIDEST_COUNTER = 64


def walk_trees(facts: CheckFacts) -> Iterator[Step]:
    """Walk the metadata and the L2 tables once: judge them and count their claims."""
    claim_regions(facts)
    if not facts.only_counting:
        check_l1(facts)
    claim_l2_tables(facts)
    total = int(np.count_nonzero(facts.tables.walked)) << facts.space.cluster_bits
    yield from steps_of("tables", total, check_l2(facts))


def count_and_compare(facts: CheckFacts, leaks: LeakMap, windows: Windows) -> Iterator[Step]:
    """Count the references of all clusters, report what disagrees, and mark the leaks.

    Leaves the counts in ``facts.references``; in several windows, what is kept of them in
    ``facts.kept``. Raises SourceError when the image cannot be read.
    """
    counting = _Counting(facts, windows)
    comparison = RefcountComparison(facts, leaks)
    while not counting.done:
        yield from counting.count_next()
        total = facts.clusters * facts.image.geometry.refcount_bits // 8
        yield from steps_of("comparing", total, comparison.compare(facts.references))
        if facts.kept is not None:
            facts.kept.keep(facts.references)
    comparison.finish()
    report_shared_blocks(facts, counting.shared_blocks)
    if facts.kept is not None:
        # The last window says nothing of the others.
        facts.references = RefcountMap(facts.references.size, end=0)


class _Counting:
    """Counts window by window. ``shared_blocks`` (bool) as in `claim_blocks`, of all so far."""

    def __init__(self, facts: CheckFacts, windows: Windows) -> None:
        self.shared_blocks: NDArray[np.bool_] = np.zeros(len(facts.stored.entries), dtype=np.bool_)
        self._facts = facts
        self._judged = False
        self._windows = windows
        self._next = 0
        self._keep_unless_all(windows.end(0, 8))

    def _keep_unless_all(self, end: int) -> None:
        """What is known of a window is to be kept, unless it ends with the last cluster."""
        facts = self._facts
        if facts.kept is None and end < self._windows.clusters:
            facts.kept = KeptReferences(self._windows.clusters, suspects_examined(facts))

    @property
    def done(self) -> bool:
        """Whether all clusters have been counted."""
        return self._next >= self._windows.clusters

    def count_next(self) -> Iterator[Step]:
        """Count the next window, with counters as wide as it takes."""
        first, bits = self._next, 8
        end = self._windows.end(first, bits)
        while True:
            walk = self._walk_of(first, end, bits)
            yield from walk_trees(walk)
            if self._settle(walk):
                break
            bits *= 2
            end = min(end, self._windows.end(first, bits))
            self._keep_unless_all(end)
        self._next = end

    def _walk_of(self, first: int, end: int, bits: int) -> CheckFacts:
        """The facts to count a window with; all that judges is done with the real ones."""
        facts = self._facts
        # Let go of the last counters before there are new ones.
        facts.references = RefcountMap(self._windows.clusters, end=0)
        if first == 0 and bits == 8:
            facts.references = RefcountMap(self._windows.clusters, end=end)
            return facts
        return facts.recounting(bits, first, end)

    def _settle(self, walk: CheckFacts) -> bool:
        """Add the claims of the refcount blocks; False where a counter is too narrow."""
        facts, widest = self._facts, walk.references.bits == _WIDEST_COUNTER
        if walk.references.overflowed and not widest:
            return False
        facts.references = walk.references
        if not self._judged:
            # Which blocks lie in the file is known when all else has made its claims.
            judge_blocks(facts)
            self._judged = True
        shared = claim_blocks(facts)
        if facts.references.overflowed and not widest:
            return False
        self.shared_blocks |= shared
        return True
