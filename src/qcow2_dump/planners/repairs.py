"""A repair: everything that was asked for, as one plan (repair rules, section 3).

What is mended in one round can make more of the image intelligible, a table whose cluster something
else claimed for instance. Rounds follow each other until one finds nothing to do, so that the same
repair has nothing to do the next time.
"""

from dataclasses import dataclass, replace

from qcow2_dump.checks.catalogue import Severity
from qcow2_dump.checks.result import CheckResult
from qcow2_dump.errors import UnsafePlanError
from qcow2_dump.image.image import Image
from qcow2_dump.image.leftovers import Leftovers
from qcow2_dump.plan.model import Barrier, Plan
from qcow2_dump.plan.overlay import OverlaySource
from qcow2_dump.plan.spool import Spool
from qcow2_dump.planners.allocator import Allocator
from qcow2_dump.planners.checked import Checked, Tick, check_for_planning
from qcow2_dump.planners.draft import Draft
from qcow2_dump.planners.fields.bitmaps import drop_bitmaps, mend_bitmap_tables
from qcow2_dump.planners.fields.header_fields import clear_bitmaps_bit
from qcow2_dump.planners.finishing import Finisher
from qcow2_dump.planners.mapping.entries import mend_entries
from qcow2_dump.planners.mapping.private_copies import refuse_bound_data, separate_owners
from qcow2_dump.planners.mapping.unusable import Dropped, drop_unusable
from qcow2_dump.planners.policy import CopiedPolicy, Policy
from qcow2_dump.planners.proposal import Proposal
from qcow2_dump.planners.snapshots.changes import drop_snapshot_records, mend_short_extra_data
from qcow2_dump.planners.snapshots.count import mend_snapshot_count
from qcow2_dump.planners.snapshots.lengths import mend_extra_data_lengths
from qcow2_dump.planners.snapshots.table import replaced_snapshot_table

__all__ = ["RepairChoice", "plan_repair"]

# What one round uncovers, the next one mends; nothing was ever seen to need more than three.
_MOST_ROUNDS = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class RepairChoice:
    """What to mend.

    ``leaks`` lowers refcounts that are too high where triage says waste, with ``free_orphans`` all
    of them; ``errors`` mends everything that can be mended in place; ``reuse`` copies clusters with
    several owners apart. The ``drop`` choices give something up: entries that lead nowhere,
    bitmaps, the snapshot records at some positions. ``deep`` decompresses every stream in the
    checks before and after.
    """

    leaks: bool = False
    errors: bool = False
    reuse: bool = False
    free_orphans: bool = False
    drop_unusable: bool = False
    drop_bitmaps: bool = False
    drop_snapshots: tuple[int, ...] = ()
    deep: bool = False

    @property
    def gives_up(self) -> bool:
        """Whether reasons for doubt may vanish with this very run."""
        return self.reuse or self.drop_unusable or self.drop_bitmaps or bool(self.drop_snapshots)

    @property
    def policy(self) -> Policy:
        """What may be done about refcounts and flags."""
        return Policy(
            raise_low=self.errors,
            # A private copy needs a refcount, and a place for it.
            rebuild=self.errors or self.reuse,
            lower_waste=self.leaks,
            lower_orphans=self.free_orphans,
            release=True,
            wary=self.drop_unusable or bool(self.drop_snapshots),
            copied=CopiedPolicy.ALL if self.errors else CopiedPolicy.WITH_REFCOUNTS,
            flags=self.errors or self.leaks,
        )


def plan_repair(
    image: Image,
    choice: RepairChoice,
    *,
    can_grow: bool,
    tick: Tick | None = None,
) -> Proposal:
    """Make the plan of a repair.

    ``can_grow`` is False for a block device. Raises SourceError when the image cannot be read.
    """
    return _Repair(image, choice, can_grow=can_grow, tick=tick).plan()


class _Repair:
    def __init__(
        self,
        image: Image,
        choice: RepairChoice,
        *,
        can_grow: bool,
        tick: Tick | None,
    ) -> None:
        self._image = image
        self._choice = choice
        self._can_grow = can_grow
        self._tick = tick
        self._notes: list[str] = []
        # What the last round could not mend; a later one may.
        self._left: list[str] = []

    def plan(self) -> Proposal:
        """One round after the other, as long as each makes the image better."""
        deep = self._choice.deep
        found = check_for_planning(self._image, deep=deep, tick=self._tick)
        title = "repair"
        whole = Proposal(Plan(title, self._image.source.size), before=found.result)
        whole.after = found.result
        spool = whole.plan.spool
        if self._choice.reuse:
            refuse_bound_data(found)
        choice, now = self._choice, found
        for _ in range(_MOST_ROUNDS):
            following = self._round(now, choice, spool)
            if following is None:
                break
            self._add(whole, following)
            if following.after is None:
                break
            if not _may_go_on(following.after):
                self._left = []
                break
            # What leaks is judged by the image as found: later rounds lower nothing.
            choice = replace(
                choice, leaks=False, free_orphans=False, drop_snapshots=(), drop_bitmaps=False
            )
            source = OverlaySource(self._image.source, whole.plan)
            known = self._image.leftovers
            # What this round kept stays so, although its reasons may be gone by now.
            leftovers = Leftovers(known.kept + whole.kept, known.replaced)
            later = Image(source, self._image.resolver, leftovers=leftovers)
            now = check_for_planning(later, deep=deep, tick=self._tick)
        whole.notes += dict.fromkeys([*self._notes, *self._left])
        self._tell_orphans(whole, found)
        return whole

    def _round(self, found: Checked, choice: RepairChoice, spool: Spool) -> Proposal | None:
        """One round; None where it has nothing to do, or would not make the image better."""
        proposal = self._attempt(found, choice, spool)
        if proposal is None:
            return None
        if proposal.plan.is_empty:
            self._notes += proposal.notes
            return None
        # An entry that was asked for may be gone already; then it takes more than another try.
        dropped = choice.drop_unusable and proposal.losses_total > 0
        asked = dropped or choice.drop_bitmaps or bool(choice.drop_snapshots)
        if proposal.after is not None and not _is_better(found.result, proposal.after, asked=asked):
            self._notes.append("What could be changed would not make the image any better.")
            return None
        self._notes += proposal.notes
        return proposal

    def _attempt(self, found: Checked, choice: RepairChoice, spool: Spool) -> Proposal | None:
        """The first that is safe: all that was asked for, no private copies, nothing rebuilt."""
        less = replace(choice, reuse=False)
        ways = [(choice, choice.policy), (less, choice.policy)]
        ways.append((less, replace(choice.policy, rebuild=False)))
        refused: list[str] = []
        proposal: Proposal | None = None
        for way in dict.fromkeys(ways):
            try:
                proposal = self._propose(found, *way, spool)
                break
            except UnsafePlanError as error:
                refused.append(f"Not all can be mended: {error}.")
        self._left = refused + self._left
        return proposal

    def _propose(
        self, found: Checked, choice: RepairChoice, policy: Policy, spool: Spool
    ) -> Proposal:
        draft = Draft(found.image, "repair", spool)
        allocator = Allocator(draft, found, can_grow=self._can_grow, replaces_blocks=policy.rebuild)
        dropped, notes = _mend(draft, found, choice, allocator)
        self._left = dropped.notes
        finisher = Finisher(
            found,
            policy,
            can_grow=self._can_grow,
            remember=not self._choice.gives_up,
            deep=self._choice.deep,
            tick=self._tick,
        )
        proposal = finisher.finish(draft, replaced_snapshot_table(draft, found))
        proposal.notes[:0] = notes
        proposal.losses, proposal.losses_total = dropped.losses, dropped.losses_total
        return proposal

    def _add(self, whole: Proposal, following: Proposal) -> None:
        # After several rounds more was changed than refcounts and flags.
        whole.counted = None if whole.plan.steps else following.counted
        if whole.plan.steps:
            whole.plan.steps.append(Barrier())
        whole.plan.steps += following.plan.steps
        whole.after = following.after
        whole.losses += following.losses
        whole.losses_total += following.losses_total
        whole.replaced += following.replaced
        if not self._choice.gives_up:
            whole.kept = tuple(sorted({*whole.kept, *following.kept}))

    def _tell_orphans(self, whole: Proposal, found: Checked) -> None:
        """Say which leaks stay, and why."""
        triage = found.result.triage
        left = triage.orphans
        if whole.after is not None:
            # What a misread table made a leak of is none any more.
            left = min(left, whole.after.statistics.leaks)
        if not left or self._choice.free_orphans:
            return
        kept = f"{left:,} leaked cluster{'s' * (left > 1)} may hold guest data"
        whole.notes.append(f"{kept} and will not be freed: {'; '.join(triage.reasons)}.")
        if self._choice.gives_up:
            whole.notes.append(
                "Once the image is in order, repair --leaks frees what is then certainly waste."
            )


def _mend(
    draft: Draft, found: Checked, choice: RepairChoice, allocator: Allocator
) -> tuple[Dropped, list[str]]:
    """Draft all changes but those of refcounts and COPIED flags.

    Returns what is lost by them, with sentences about what is left, and sentences about the rest.
    """
    dropped = Dropped()
    notes: list[str] = []
    left: list[str] = []
    if choice.errors:
        clear_bitmaps_bit(draft, found.image)
        mend_bitmap_tables(draft, found)
        left = mend_entries(draft, found)
    notes += _mend_snapshots(draft, found, choice, allocator)
    if choice.drop_bitmaps:
        notes += drop_bitmaps(draft, found)
    if choice.drop_unusable:
        dropped = drop_unusable(draft, found)
    # Private copies are made of what is in order; if anything was mended, the next round does it.
    if choice.reuse and draft.is_empty:
        notes += separate_owners(draft, found, allocator)
    dropped.notes[:0] = left
    return dropped, notes


def _mend_snapshots(
    draft: Draft, found: Checked, choice: RepairChoice, allocator: Allocator
) -> list[str]:
    """Draft one new snapshot table at the most: what is left is for the next round."""
    notes = mend_snapshot_count(draft, found) if choice.errors else []
    if choice.drop_snapshots:
        return [*notes, *drop_snapshot_records(draft, allocator, choice.drop_snapshots)]
    if notes or not choice.errors:
        return notes
    before = draft.drafted().header.snapshots_offset
    notes = mend_extra_data_lengths(draft, found, allocator)
    if draft.drafted().header.snapshots_offset == before:
        notes += mend_short_extra_data(draft, allocator)
    return notes


def _may_go_on(after: CheckResult) -> bool:
    """Whether another round could find anything to do."""
    return bool(after.kinds(Severity.CORRUPTION, Severity.WARNING))


def _is_better(before: CheckResult, after: CheckResult, *, asked: bool) -> bool:
    """Fewer corruptions; or as many, and fewer leaks; or as many of both, and less of the rest.

    What was ``asked`` to be given up may leave leaks behind, but no corruption.
    """
    was, will = _badness(before), _badness(after)
    return will < was or (asked and will[0] <= was[0])


def _badness(result: CheckResult) -> tuple[int, int, int, int]:
    statistics = result.statistics
    shared = result.tallies.get("cluster.shared")
    rest = sum(tally.places for tally in result.tallies.values())
    return (
        statistics.corruptions + statistics.check_errors,
        statistics.leaks,
        shared.places if shared else 0,
        rest,
    )
