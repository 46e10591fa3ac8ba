"""Plans for snapshots: applied, deleted, or all but some deleted (repair rules, section 4)."""

from collections.abc import Callable, Collection

from qcow2_dump.checks.catalogue import Severity
from qcow2_dump.checks.result import CheckResult
from qcow2_dump.image.image import Image
from qcow2_dump.planners.allocator import Allocator
from qcow2_dump.planners.checked import Checked, Tick, check_for_planning
from qcow2_dump.planners.draft import Draft
from qcow2_dump.planners.finishing import Finisher
from qcow2_dump.planners.policy import CopiedPolicy, Policy
from qcow2_dump.planners.proposal import Proposal
from qcow2_dump.planners.snapshots.changes import apply_snapshot, delete_snapshots, keep_snapshots

__all__ = ["plan_snapshot_apply", "plan_snapshots_deleted", "plan_snapshots_kept"]

# What is wrong with an entry although it is certain where it leads, or that it leads nowhere.
_MINOR = frozenset(
    {
        "l1.reserved",
        "l1.copied",
        "l2.reserved",
        "l2.copied",
        "l2.subclusters",
        "l2.unaligned-zero",
        "l2.zero-v2",
    }
)

_COPIED = ("l1.copied", "l2.copied")

_Change = Callable[[Draft, Checked, Allocator], list[str]]


def plan_snapshot_apply(
    image: Image, position: int, *, can_grow: bool, tick: Tick | None = None
) -> Proposal:
    """Exchange the active layer and the snapshot at a position of the table.

    ``can_grow`` is False for a device. Raises as `apply_snapshot` does, and SourceError when the
    image cannot be read.
    """

    def change(draft: Draft, found: Checked, allocator: Allocator) -> list[str]:
        return apply_snapshot(draft, found, allocator, position)

    return _plan(image, "snapshot apply", change, can_grow=can_grow, tick=tick)


def plan_snapshots_deleted(
    image: Image, positions: Collection[int], *, can_grow: bool, tick: Tick | None = None
) -> Proposal:
    """Delete the snapshots at some positions of the table.

    ``can_grow`` is False for a device. Raises as `delete_snapshots` does, and SourceError when
    the image cannot be read.
    """

    def change(draft: Draft, _: Checked, allocator: Allocator) -> list[str]:
        return delete_snapshots(draft, allocator, positions)

    return _plan(image, "snapshot delete", change, can_grow=can_grow, tick=tick)


def plan_snapshots_kept(
    image: Image, positions: Collection[int], *, can_grow: bool, tick: Tick | None = None
) -> Proposal:
    """Delete all snapshots but those at some positions of the table.

    ``can_grow`` is False for a device. Raises as `keep_snapshots` does, and SourceError when the
    image cannot be read.
    """

    def change(draft: Draft, _: Checked, allocator: Allocator) -> list[str]:
        return keep_snapshots(draft, allocator, positions)

    return _plan(image, "snapshot keep", change, can_grow=can_grow, tick=tick)


def _plan(
    image: Image, title: str, change: _Change, *, can_grow: bool, tick: Tick | None
) -> Proposal:
    found = check_for_planning(image, tick=tick)
    sound = _is_sound(found)
    draft = Draft(image, title)
    notes = change(draft, found, Allocator(draft, found, can_grow=can_grow))
    if draft.is_empty:
        return Proposal(draft.build(), notes, before=found.result, after=found.result)
    copied = CopiedPolicy.ALL if sound else CopiedPolicy.CLEAR_DOUBTFUL
    policy = Policy(release=sound, copied=copied)
    proposal = Finisher(found, policy, can_grow, tick=tick).finish(draft)
    proposal.notes[:0] = notes
    if not sound:
        proposal.notes.append(
            "The image is damaged: pointers are changed, and what nothing refers to then stays, "
            "because it may be what a damaged entry led to. Check the image afterwards."
        )
    proposal.notes += _about_result(proposal)
    return proposal


def _is_sound(found: Checked) -> bool:
    """Whether the tables tell all there is, so that what nothing refers to is nobody's."""
    result = found.result
    doubtful = set(result.kinds(Severity.CORRUPTION)) - _MINOR
    return not (doubtful or result.statistics.check_errors or result.triage.orphans)


def _about_result(proposal: Proposal) -> list[str]:
    before, after = proposal.before, proposal.after
    if before is None or after is None:
        return []
    notes = []
    was, will = before.statistics.corruptions, after.statistics.corruptions
    if will > was:
        notes.append(f"A check would find {will:,} corruptions then, and {was:,} now.")
        if _places(after, *_COPIED) > _places(before, *_COPIED):
            notes.append(
                "COPIED flags that are in doubt stay cleared, which does no harm; "
                "`repair --errors` sets those that should be set."
            )
    if after.refusal is not None:
        notes.append(f"QEMU would not open the image then: {after.refusal}.")
    return notes


def _places(result: CheckResult, *codes: str) -> int:
    return sum(result.tallies[code].places for code in codes if code in result.tallies)
