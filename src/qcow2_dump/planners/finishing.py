"""What every change ends with: refcounts and COPIED flags that fit, and a look at the result.

A planner drafts what it was asked for. Here the draft is checked, its refcounts and flags are put
right as far as the policy goes, and the outcome is compared with the image as found.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qcow2_dump.checks.leaks.leftovers import merged_ranges
from qcow2_dump.checks.recount import recount
from qcow2_dump.checks.result import CheckResult
from qcow2_dump.checks.verdict import Verdict
from qcow2_dump.image.image import Image
from qcow2_dump.image.leftovers import Leftovers, Ranges
from qcow2_dump.ondisk.constants import IncompatibleFeature
from qcow2_dump.ondisk.header import FIELD_OFFSETS
from qcow2_dump.plan.model import Field, Plan
from qcow2_dump.plan.overlay import OverlaySource
from qcow2_dump.planners.allocator import Allocator
from qcow2_dump.planners.checked import Checked, Tick, check_for_planning
from qcow2_dump.planners.draft import Draft, Stage
from qcow2_dump.planners.fields.header_fields import clear_unknown_autoclear
from qcow2_dump.planners.policy import Policy
from qcow2_dump.planners.proposal import Proposal
from qcow2_dump.planners.refcounts.copied import copied_out_of_reach, plan_copied
from qcow2_dump.planners.refcounts.proof import prove_refcounts
from qcow2_dump.planners.refcounts.targets import RefcountTargets
from qcow2_dump.planners.refcounts.writing import FinalRefcounts, plan_refcounts

__all__ = ["Finisher"]

_STAYS = (
    "The image stays marked corrupt, because more than waste is left. Where that is known and "
    "borne with, flag clear IMAGE corrupt takes the mark away."
)

# What ranks no higher than waste does; of the flags themselves it is decided here.
_HARMLESS = (Verdict.GOOD, Verdict.LEAK, Verdict.OTHER, Verdict.FLAGGED, Verdict.FLAG)

# A file of so many clusters is checked in less time than it takes to explain why not.
_ALWAYS_CHECKED = 1 << 20

# What an undo file names of the clusters that were kept or replaced, each range some 30 bytes.
_MOST_RANGES = 1_000


@dataclass(slots=True)
class Finisher:
    """Makes a proposal of a draft.

    ``can_grow`` is False for a device. ``deep`` says that the check of ``found`` decompressed every
    stream: the result is held to the same. ``remember`` says that later checks will know which
    leaks were kept; ``replaced`` are clusters of structures that the draft gives up knowingly.
    """

    found: Checked
    policy: Policy
    can_grow: bool
    remember: bool = True
    deep: bool = False
    tick: Tick | None = None

    def finish(self, draft: Draft, replaced: set[int] | None = None) -> Proposal:
        """Complete a draft. Raises UnsafePlanError where that cannot be done safely."""
        found = self.found
        changed = not draft.is_empty
        drafted = found
        if changed:
            drafted = check_for_planning(draft.drafted(), tick=self.tick)
        allocator = Allocator(
            draft,
            drafted,
            can_grow=self.can_grow,
            replaces_blocks=self.policy.rebuild,
            before=found,
        )
        pinned = copied_out_of_reach(found, drafted)
        targets = RefcountTargets(found, drafted, self.policy, pinned)
        targets.replaced |= replaced or set()
        final = plan_refcounts(
            draft, found, drafted, targets, allocator, rebuild=self.policy.rebuild
        )
        agree = plan_copied(draft, found, drafted, final, self.policy.copied)
        return self._propose(draft, drafted, final, changed=changed, agree=agree)

    def _propose(
        self, draft: Draft, drafted: Checked, final: FinalRefcounts, *, changed: bool, agree: bool
    ) -> Proposal:
        found = self.found
        flagged = self.policy.flags and found.image.header.is_v3 and bool(_flags(found.image))
        if draft.is_empty and not flagged:
            return Proposal(draft.build(), before=found.result, after=found.result)
        if not draft.is_empty:
            clear_unknown_autoclear(draft, draft.image)
        kept = _kept(found, final)
        small = found.facts.clusters <= _ALWAYS_CHECKED
        known: CheckResult | None = None
        if agree and not (changed or final.pointers or flagged or small):
            known = _recounted(draft.build(), found)
        after = known or self._check(draft, kept)
        if flagged and _clear_flags(draft, after):
            after = self._check(draft, kept)
        plan = draft.build()
        notes = []
        if flagged and "header.corrupt-flag" in after.tallies:
            notes.append(_STAYS)
        if known is None and not plan.is_empty:
            prove_refcounts(plan, found, drafted, final.changes)
        size = found.facts.space.cluster_size
        return Proposal(
            plan,
            notes,
            before=found.result,
            after=after,
            kept=kept,
            replaced=_replaced(final, size),
            counted=found.facts if known else None,
        )

    def _check(self, draft: Draft, kept: Ranges) -> CheckResult:
        """The image as it would be, checked in full: over the plan, as it will be written."""
        source = OverlaySource(draft.image.source, draft.build())
        known = draft.image.leftovers
        leftovers = Leftovers(known.kept + kept if self.remember else known.kept, known.replaced)
        return check_for_planning(
            Image(source, draft.image.resolver, leftovers=leftovers),
            deep=self.deep,
            tick=self.tick,
        ).result


def _recounted(plan: Plan, found: Checked) -> CheckResult | None:
    """What comes of a plan that changes refcounts and COPIED flags only, if all is well then.

    The flags are known to agree with the refcounts.
    """
    source = OverlaySource(found.image.source, plan)
    image = Image(source, found.image.resolver, leftovers=found.image.leftovers)
    return recount(image, found.facts, found.result)


def _kept(found: Checked, final: FinalRefcounts) -> Ranges:
    """The clusters whose refcounts stay too high although nobody called them waste: byte ranges."""
    parts: list[NDArray[np.int64]] = []
    for chunk in final.kept.chunks():
        leaking = chunk[chunk < found.leaks.unreferenced.size]
        if found.judgement is not None and len(leaking):
            free = found.leaks.unreferenced.contains(leaking)
            over = found.leaks.overcounted.contains(leaking)
            waste = free & ~found.judgement.keeps(leaking, referenced=False)
            waste |= over & ~found.judgement.keeps(leaking, referenced=True)
            leaking = leaking[~waste]
        parts.append(leaking)
    kept = np.concatenate(parts) if parts else np.zeros(0, dtype=np.int64)
    return merged_ranges(kept, found.facts.space.cluster_size, _MOST_RANGES)


def _replaced(final: FinalRefcounts, cluster_size: int) -> Ranges:
    """The clusters given up knowingly, as byte ranges: rather too few than one too many."""
    clusters = np.array(sorted(final.replaced), dtype=np.int64)
    return merged_ranges(clusters, cluster_size, len(clusters))[:_MOST_RANGES]


def _flags(image: Image) -> IncompatibleFeature:
    return image.header.incompatible & (IncompatibleFeature.DIRTY | IncompatibleFeature.CORRUPT)


def _clear_flags(draft: Draft, after: CheckResult) -> bool:
    """Take back the flags that are not true any more; returns whether any was."""
    if after.statistics.corruptions or after.statistics.check_errors:
        return False
    gone = IncompatibleFeature.DIRTY
    if _is_mended(after):
        gone |= IncompatibleFeature.CORRUPT
    gone &= _flags(draft.image)
    for flag, reason in (
        (IncompatibleFeature.DIRTY, "header.dirty"),
        (IncompatibleFeature.CORRUPT, "header.corrupt"),
    ):
        if flag in gone:
            place = FIELD_OFFSETS["incompatible_features"]
            field = Field("header", 0, 64, place // 8)
            mask = int(flag).to_bytes(8, "big")
            draft.put(Stage.FLAGS, place, bytes(8), field, reason, mask=mask)
    if gone:
        # It may be all that is written.
        clear_unknown_autoclear(draft, draft.image)
    return bool(gone)


def _is_mended(after: CheckResult) -> bool:
    """Whether nothing worse than waste remains."""
    return not after.triage.orphans and after.verdict in _HARMLESS
