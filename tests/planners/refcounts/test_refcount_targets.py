"""What each refcount is to be, against the same rules said plainly for one cluster."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from qcow2_dump.checks.bitset import BitSet
from qcow2_dump.planners.policy import Policy
from qcow2_dump.planners.refcounts.targets import RefcountTargets

ORDERS = st.integers(0, 6)
BLOCK = 8


@dataclass
class Judgement:
    """Triage with an answer for each cluster."""

    orphans: frozenset[int]
    doubts: tuple[str, ...] = ()
    unstored: bool = False

    def keeps(self, clusters: NDArray[np.int64], *, referenced: bool) -> NDArray[np.bool_]:
        del referenced
        return np.array([cluster in self.orphans for cluster in clusters.tolist()], dtype=np.bool_)


@dataclass
class Situation:
    """Refcounts and references, cluster by cluster, and what may be done about them.

    ``before`` and ``drafted`` are references as found and as drafted; the second may be longer,
    since the file grew. ``found`` is the number of clusters that the image as found has;
    ``doubted`` says that there are reasons for doubt although nothing leaks.
    """

    maximum: int
    stored: list[int]
    before: list[int]
    drafted: list[int]
    found: int
    policy: Policy
    judgement: Judgement | None
    doubted: bool = False
    pinned: frozenset[int] = frozenset()
    replaced: frozenset[int] = frozenset()
    changes: dict[int, int] = field(default_factory=dict)

    def counted(self, cluster: int) -> int:
        walked = self.drafted[cluster] if cluster < len(self.drafted) else 0
        return max(0, walked + self.changes.get(cluster, 0))

    def target(self, cluster: int) -> int:
        """The rules for one cluster."""
        stored = self.stored[cluster]
        counted = min(self.counted(cluster), self.maximum)
        before = min(self.before[cluster] if cluster < len(self.before) else 0, self.maximum)
        if stored < counted:
            may_rise = self.policy.raise_low or counted > before
            stuck = cluster in self.pinned and stored == 1
            return counted if may_rise and not stuck else stored
        return counted if stored > counted and self.falls(cluster, before, counted) else stored

    def falls(self, cluster: int, before: int, counted: int) -> bool:
        if self.policy.lower_orphans or cluster >= self.found:
            return True
        known = self.judgement
        if self.stored[cluster] > before:
            waste = known is not None and cluster not in known.orphans
            return self.policy.lower_waste and waste
        released = self.policy.release and (not self.in_doubt(wary=self.policy.wary) or counted > 0)
        return released or cluster in self.replaced

    def in_doubt(self, *, wary: bool) -> bool:
        if self.judgement is None:
            return wary and self.doubted
        return bool(self.judgement.doubts or self.judgement.unstored)


@st.composite
def situations(draw: st.DrawFn) -> Situation:
    clusters = draw(st.integers(1, 24))
    maximum = (1 << (1 << draw(ORDERS))) - 1
    count = st.integers(0, 3)
    stored = st.integers(0, min(maximum, 4)) | st.just(maximum)
    chosen = st.frozensets(st.integers(0, clusters - 1))
    found = draw(st.integers(1, clusters))
    judgement = st.builds(
        Judgement, chosen, doubts=st.sampled_from([(), ("why",)]), unstored=st.booleans()
    )
    return Situation(
        maximum=maximum,
        stored=draw(st.lists(stored, min_size=clusters, max_size=clusters)),
        before=draw(st.lists(count, min_size=found, max_size=found)),
        drafted=draw(st.lists(count, min_size=found, max_size=clusters)),
        found=found,
        policy=draw(
            st.builds(
                Policy,
                raise_low=st.booleans(),
                lower_waste=st.booleans(),
                lower_orphans=st.booleans(),
                release=st.booleans(),
                wary=st.booleans(),
            )
        ),
        judgement=draw(st.none() | judgement),
        doubted=draw(st.booleans()),
        pinned=draw(chosen),
        replaced=draw(chosen),
        changes=draw(st.dictionaries(st.integers(0, clusters - 1), st.integers(-2, 2), max_size=4)),
    )


def checked(counts: list[int], clusters: int, case: Situation) -> Any:
    """As much of a `Checked` as targets look at."""
    references = SimpleNamespace(counts=np.array(counts, dtype=np.uint8))
    geometry = SimpleNamespace(refcount_max=case.maximum)
    return SimpleNamespace(
        facts=SimpleNamespace(references=references, clusters=clusters),
        image=SimpleNamespace(geometry=geometry),
        judgement=case.judgement,
        is_in_doubt=case.in_doubt,
    )


def targets_of(case: Situation) -> RefcountTargets:
    pinned = BitSet(len(case.drafted))
    inside = [cluster for cluster in sorted(case.pinned) if cluster < len(case.drafted)]
    pinned.add(np.array(inside, dtype=np.int64))
    case.pinned = frozenset(inside)
    found = checked(case.before, case.found, case)
    drafted = checked(case.drafted, len(case.drafted), case)
    targets = RefcountTargets(found, drafted, case.policy, pinned)
    for cluster, times in case.changes.items():
        targets.add_reference(cluster, times)
    targets.replaced |= case.replaced
    return targets


@settings(max_examples=150, deadline=None)
@given(situations())
def test_every_refcount_becomes_what_the_rules_say(case: Situation) -> None:
    targets = targets_of(case)
    stored = np.array(case.stored, dtype=np.uint64)
    for first in range(0, len(stored), BLOCK):
        piece = stored[first : first + BLOCK]
        found = targets.of(first, piece)
        clusters = range(first, first + len(piece))
        target = found.with_targets(found.target).tolist()
        assert target == [case.target(cluster) for cluster in clusters]
        counted = [case.counted(cluster) for cluster in clusters]
        differing = [at for at, held in enumerate(piece.tolist()) if held != counted[at]]
        assert found.differing.tolist() == differing
        assert found.counted.tolist() == [counted[at] for at in differing]
        assert found.held.tolist() == [piece[at] for at in differing]
        assert found.stored.tolist() == piece.tolist()
        assert [targets.references(cluster) for cluster in clusters] == counted
        end = first + len(piece)
        for step in (1, 3, BLOCK):
            parts = [clusters[at : at + step] for at in range(0, len(clusters), step)]
            used = targets.any_referenced(first, end, step).tolist()
            assert used == [any(map(case.counted, part)) for part in parts]
        if targets.untouched(first, end, piece if piece.any() else None):
            assert target == found.stored.tolist() == counted


@settings(max_examples=50, deadline=None)
@given(situations())
def test_no_refcount_falls_below_its_references(case: Situation) -> None:
    found = targets_of(case).of(0, np.array(case.stored, dtype=np.uint64))
    counted = np.array([case.counted(at) for at in range(len(case.stored))], dtype=np.uint64)
    needed = np.minimum(counted, np.uint64(case.maximum))
    target = found.with_targets(found.target)
    assert (target >= np.minimum(found.stored, needed)).all()
    assert (target <= np.uint64(case.maximum)).all()


def test_references_that_are_added_and_taken_back_leave_nothing() -> None:
    case = Situation(15, [1, 1], [1, 1], [1, 1], 2, Policy(raise_low=True), None)
    targets = targets_of(case)
    targets.add_reference(1)
    assert targets.counted(0, 2).tolist() == [1, 2]
    targets.add_reference(1, -1)
    assert not len(targets.of(0, np.array([1, 1], dtype=np.uint8)).differing)
