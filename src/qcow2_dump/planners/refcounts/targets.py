"""What each refcount should be: the references, as far as triage lets it fall (repair rules 1, 2).

Works in stretches of host clusters: an image may have a thousand million of them.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qcow2_dump.checks.bitset import BitSet
from qcow2_dump.checks.facts import CheckFacts
from qcow2_dump.checks.refcount_map import any_counts
from qcow2_dump.planners.checked import Checked
from qcow2_dump.planners.policy import Policy

__all__ = ["RefcountTargets", "Stretch"]

_I64 = NDArray[np.int64]
_U64 = NDArray[np.uint64]
_Unsigned = NDArray[np.unsignedinteger]


@dataclass(frozen=True, slots=True)
class Stretch:
    """The refcounts of the clusters from ``first`` on: ``stored`` as the image has them (unsigned).

    At the positions ``differing`` (int64[n], ascending) what is stored is not the number of the
    references as drafted. There is ``held`` what is stored, ``target`` what it is to be, as far as
    a refcount can hold it, and ``counted`` the number of references (uint64[n]).
    """

    first: int
    stored: _Unsigned
    differing: _I64
    held: _U64
    target: _U64
    counted: _U64

    def part(self, first: int, end: int) -> "Stretch":
        """What there is of the clusters from ``first`` to ``end``, not included."""
        begin, behind = first - self.first, end - self.first
        low, high = np.searchsorted(self.differing, (begin, behind)).tolist()
        return Stretch(
            first,
            self.stored[begin:behind],
            self.differing[low:high] - begin,
            self.held[low:high],
            self.target[low:high],
            self.counted[low:high],
        )

    def with_targets(self, targets: _U64) -> _Unsigned:
        """All refcounts, with some others (uint64[n]) where they differ; unsigned, narrow."""
        width = np.min_scalar_type(int(targets.max(initial=0)))
        refcounts = self.stored.astype(np.promote_types(self.stored.dtype, width))
        refcounts[self.differing] = targets
        return refcounts


class RefcountTargets:
    """Compares the image as found with the image as drafted, by their counted references.

    ``changes`` are references that finishing itself adds and takes away (new blocks, replaced
    ones), by cluster; ``replaced`` are clusters of structures that are given up knowingly, and
    ``pinned`` those whose refcount must not rise above 1.
    """

    def __init__(self, found: Checked, drafted: Checked, policy: Policy, pinned: BitSet) -> None:
        # Empty nearly always, which takes a look at all of it to know.
        self._pinned = pinned or None
        self._found = found
        self._drafted = drafted
        self._policy = policy
        self._in_doubt: bool | None = None
        self._maximum = found.image.geometry.refcount_max
        self.changes: dict[int, int] = {}
        self.replaced: set[int] = set()
        self._changed = np.zeros(0, dtype=np.int64)

    def add_reference(self, cluster: int, times: int = 1) -> None:
        """Count a reference more (or less) of a cluster."""
        if cluster not in self.changes:
            self._changed = np.zeros(0, dtype=np.int64)
        self.changes[cluster] = self.changes.get(cluster, 0) + times

    def counted(self, first: int, end: int) -> _U64:
        """References as drafted: uint64[end - first]."""
        counted = _counts(self._drafted.facts, first, end)
        if self.changes:
            changed = self._changes()
            low, high = np.searchsorted(changed, [first, end])
            for cluster in changed[low:high].tolist():
                times = int(counted[cluster - first]) + self.changes[cluster]
                counted[cluster - first] = np.uint64(max(0, times))
        return counted

    def _changes(self) -> _I64:
        """The clusters of ``changes``, ascending."""
        if not len(self._changed):
            self._changed = np.array(sorted(self.changes), dtype=np.int64)
        return self._changed

    def references(self, cluster: int) -> int:
        """References of one cluster as drafted."""
        walked = int(_counts(self._drafted.facts, cluster, cluster + 1)[0])
        return max(0, walked + self.changes.get(cluster, 0))

    def gains(self, first: int, end: int) -> bool:
        """Whether any cluster of a stretch has more references as drafted than as found."""
        return bool((self.counted(first, end) > _counts(self._found.facts, first, end)).any())

    def any_referenced(self, first: int, end: int, step: int) -> NDArray[np.bool_]:
        """Which parts of a stretch, of ``step`` clusters, have any reference as drafted: bool."""
        starts = np.arange(0, end - first, step)
        counts = self._references(first, end)
        if not any_counts(counts):
            # Nearly all of a file that is full of holes: seen sooner than searched.
            return np.zeros(len(starts), dtype=np.bool_)
        flags: NDArray[np.bool_] = np.maximum.reduceat(counts, starts) != 0
        return flags

    def untouched(self, first: int, end: int, stored: NDArray[np.unsignedinteger] | None) -> bool:
        """Whether all refcounts of a stretch (None for zeros) are what they should be.

        Asked first, and fast.
        """
        if self._changes_within(first, end):
            return False
        counts = self._drafted.facts.references.counts[first:end]
        if stored is None:
            return not any_counts(counts)
        return len(counts) == len(stored) and np.array_equal(counts, stored)

    def _changes_within(self, first: int, end: int) -> bool:
        """Whether finishing itself changes the references of any cluster of a stretch."""
        if not self.changes:
            return False
        low, high = np.searchsorted(self._changes(), [first, end])
        return bool(low < high)

    def of(self, first: int, stored: NDArray[np.unsignedinteger]) -> Stretch:
        """The targets of the clusters from ``first`` on, given what is stored."""
        references = self._references(first, first + len(stored))
        # Nearly all are what they should be.
        at = np.flatnonzero(stored != references)
        held, counted = (values.take(at).astype(np.uint64) for values in (stored, references))
        target = self._targets_of(at + first, held, counted) if len(at) else held
        return Stretch(first, stored, at, held, target, counted)

    def _references(self, first: int, end: int) -> _Unsigned:
        """As `counted`, in whatever width they are at hand."""
        counts = self._drafted.facts.references.counts[first:end]
        if self._changes_within(first, end) or len(counts) < end - first:
            return self.counted(first, end)
        return counts

    def _targets_of(self, clusters: _I64, held: _U64, references: _U64) -> _U64:
        """The targets of some clusters, given what is stored and how often they are referred to."""
        counted = np.minimum(references, np.uint64(self._maximum))
        before = counted
        if self.changes or self._found is not self._drafted:
            before = np.minimum(_counts_at(self._found.facts, clusters), np.uint64(self._maximum))
        low = held < counted
        if not self._policy.raise_low:
            low &= counted > before
        if self._pinned is not None:
            pinned = np.flatnonzero((held == 1) & (clusters < self._pinned.size))
            low[pinned[self._pinned.contains(clusters[pinned])]] = False
        target = np.where(low, counted, held)
        high = np.flatnonzero(held > counted)
        if len(high):
            above = (values.take(high) for values in (held, counted, before))
            falls = high[self._may_fall(clusters.take(high), *above)]
            target[falls] = counted[falls]
        return target

    def _may_fall(
        self, clusters: _I64, held: _U64, counted: _U64, before: _U64
    ) -> NDArray[np.bool_]:
        """Which of some refcounts that are above the references may be lowered: bool[n]."""
        policy = self._policy
        if policy.lower_orphans:
            return np.ones(len(clusters), dtype=np.bool_)
        # What is stored for clusters past the end of the file as it was is about nothing.
        falls = clusters >= self._found.facts.clusters
        leaking = (held > before) & ~falls
        if policy.lower_waste and leaking.any():
            falls[leaking] = self._is_waste(clusters[leaking], before[leaking] != 0)
        kept = ~leaking & ~falls
        if policy.release and kept.any():
            falls[kept] = self._is_released(counted[kept] != 0, int(kept.sum()))
        if self.replaced and kept.any():
            replaced = np.fromiter(self.replaced, dtype=np.int64, count=len(self.replaced))
            falls |= kept & np.isin(clusters, replaced)
        return falls

    def _is_waste(self, clusters: _I64, referenced: NDArray[np.bool_]) -> NDArray[np.bool_]:
        judgement = self._found.judgement
        if judgement is None:
            return np.zeros(len(clusters), dtype=np.bool_)
        keeps = judgement.keeps(clusters, referenced=False)
        return ~np.where(referenced, judgement.keeps(clusters, referenced=True), keeps)

    def _is_released(self, referenced: NDArray[np.bool_], number: int) -> NDArray[np.bool_]:
        """What the change gives up: freed only where nothing speaks for its being needed."""
        if self._in_doubt is None:
            self._in_doubt = self._found.is_in_doubt(wary=self._policy.wary)
        if not self._in_doubt:
            return np.ones(number, dtype=np.bool_)
        # Somebody still has it: lowered to the number of those, it is not freed.
        return referenced


def _counts(facts: CheckFacts, first: int, end: int) -> _U64:
    """Counted references of a stretch, zeros past the clusters that were counted: uint64."""
    counts = facts.references.counts[first:end].astype(np.uint64)
    if len(counts) < end - first:
        counts = np.concatenate([counts, np.zeros(end - first - len(counts), dtype=np.uint64)])
    return counts


def _counts_at(facts: CheckFacts, clusters: _I64) -> _U64:
    """Counted references of some clusters, zeros past those that were counted: uint64."""
    counts = np.zeros(len(clusters), dtype=np.uint64)
    inside = clusters < len(facts.references.counts)
    counts[inside] = facts.references.counts[clusters[inside]]
    return counts
