"""The plans of changes, and what a crash at any point of them would leave wrong."""

from __future__ import annotations

import random
from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from qcow2_dump import open_image
from qcow2_dump.errors import Qcow2Error
from qcow2_dump.image.image import Image
from qcow2_dump.plan.model import Plan
from qcow2_dump.planners.proposal import Proposal
from qcow2_dump.planners.repairs import RepairChoice, plan_repair
from qcow2_dump.planners.snapshots.plans import (
    plan_snapshot_apply,
    plan_snapshots_deleted,
    plan_snapshots_kept,
)
from tests.differential.repair_crash import CrashJudge, apply_steps, crashed, overwritten
from tests.differential.repair_tables import Unreadable

Planner = Callable[[Image], Proposal]


def repair(image: Image) -> Proposal:
    """All that costs nothing."""
    return plan_repair(image, RepairChoice(leaks=True, errors=True), can_grow=True)


def repair_with(**choices: Any) -> Planner:
    """The same and what costs something."""
    return partial(
        plan_repair, choice=RepairChoice(leaks=True, errors=True, **choices), can_grow=True
    )


def apply_first(image: Image) -> Proposal:
    """The first snapshot becomes the active layer."""
    return plan_snapshot_apply(image, 0, can_grow=True)


def delete_first(image: Image) -> Proposal:
    """All snapshots but the first stay."""
    return plan_snapshots_deleted(image, (0,), can_grow=True)


def keep_last(image: Image) -> Proposal:
    """Only the last snapshot stays."""
    return plan_snapshots_kept(image, (len(image.snapshot_table.entries) - 1,), can_grow=True)


@contextmanager
def plan_of(path: Path, planner: Planner) -> Iterator[Plan]:
    """The plan for an image; an empty one where there is none."""
    with ExitStack() as stack:
        try:
            proposal = planner(stack.enter_context(open_image(path)))
        except Qcow2Error:
            yield Plan("nothing", 0)
            return
        stack.callback(proposal.close)
        yield proposal.plan


def faults_of(path: Path, planner: Planner, most: int, blocks: Collection[int] = ()) -> set[str]:
    """All that any crash of this change would leave wrong; `most` subsets of a stage are tried.

    `blocks` are clusters known to be refcount blocks, whatever else claims them.
    """
    original = path.read_bytes()
    with plan_of(path, planner) as plan:
        if plan.is_empty:
            return set()
        found = set(overwritten(original, plan, blocks))
        final = bytearray(original)
        apply_steps(final, plan.steps)
        try:
            judge = CrashJudge(original, final, blocks)
        except Unreadable:
            return found
        back = plan.inverse("back", "undo")
        for state in crashed(original, plan, random.Random(path.name), most):
            found.update(judge.faults(state))
            found.update(_ways_on(state, plan, back, original, bytes(final)))
    return found


def _ways_on(
    state: bytearray, plan: Plan, back: Plan, original: bytes, final: bytes
) -> Iterator[str]:
    """Taken back it is as it was; finished as if never stopped."""
    undone, done = bytearray(state), bytearray(state)
    apply_steps(undone, back.steps)
    if undone != original:
        yield "taken back it is another image"
    apply_steps(done, plan.steps)
    if done != final:
        yield "finished it is another image"
