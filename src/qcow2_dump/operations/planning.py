"""From what was asked to a proposal: which planner makes it, and of what."""

import os
from typing import TYPE_CHECKING

from qcow2_dump.errors import RequestError
from qcow2_dump.image.image import Image
from qcow2_dump.operations.selection import select_snapshot
from qcow2_dump.operations.write_requests import (
    EVERY_SNAPSHOT,
    CopyRequest,
    EditRequest,
    FlagRequest,
    RebaseRequest,
    RepairRequest,
    SnapshotRequest,
    UndoRequest,
    WriteRequest,
)
from qcow2_dump.storage.base import ByteSource
from qcow2_dump.storage.file import FileSource

if TYPE_CHECKING:  # a planner is loaded when it is asked
    from qcow2_dump.planners.checked import Tick
    from qcow2_dump.planners.proposal import Proposal

__all__ = ["needs_image", "propose", "propose_bytes"]


def needs_image(request: WriteRequest) -> bool:
    """Whether a request makes sense for a qcow2 image only, and not for any other file."""
    return not isinstance(request, EditRequest | CopyRequest | UndoRequest)


def propose(
    request: WriteRequest, image: Image, *, can_grow: bool, tick: "Tick | None" = None
) -> "Proposal":
    """The proposal for an image. Raises PlanError, RequestError and SourceError."""
    if isinstance(request, RepairRequest):
        return _repair(request, image, can_grow=can_grow, tick=tick)
    if isinstance(request, SnapshotRequest):
        return _snapshot(request, image, can_grow=can_grow, tick=tick)
    if isinstance(request, FlagRequest):
        from qcow2_dump.planners.fields.flags import plan_flag

        return plan_flag(
            image, request.action, request.flag, free_orphans=request.free_orphans, tick=tick
        )
    if isinstance(request, RebaseRequest):
        from qcow2_dump.planners.fields.backing_name import plan_rebase

        backing = os.fsencode(request.backing)
        return plan_rebase(image, backing, look_for_backing=request.look_for_backing)
    raise RequestError(f"{type(request).__name__} is no change of an image")


def propose_bytes(request: EditRequest | CopyRequest, source: ByteSource) -> "Proposal":
    """The proposal for a file that need not be an image. Raises RequestError and SourceError."""
    from qcow2_dump.planners.fields.raw import plan_copy, plan_edit

    if isinstance(request, CopyRequest):
        places = (request.source, request.destination, request.length)
        if request.file is None:
            return plan_copy(source, None, *places)
        with FileSource(request.file) as other:
            return plan_copy(source, other, *places)
    if request.value is None:
        raise RequestError("there is no value to store")
    return plan_edit(source, request.offset, request.value, request.width)


def _repair(
    request: RepairRequest, image: Image, *, can_grow: bool, tick: "Tick | None"
) -> "Proposal":
    from qcow2_dump.planners.repairs import RepairChoice, plan_repair

    choice = RepairChoice(
        leaks=request.leaks or request.everything,
        errors=request.errors or request.everything,
        reuse=request.reuse,
        free_orphans=request.free_orphans,
        drop_unusable=request.drop_unusable,
        drop_bitmaps=request.drop_bitmaps,
        drop_snapshots=request.drop_snapshots,
        deep=request.deep,
    )
    return plan_repair(image, choice, can_grow=can_grow, tick=tick)


def _snapshot(
    request: SnapshotRequest, image: Image, *, can_grow: bool, tick: "Tick | None"
) -> "Proposal":
    from qcow2_dump.planners.snapshots.plans import (
        plan_snapshot_apply,
        plan_snapshots_deleted,
        plan_snapshots_kept,
    )

    selector = request.snapshot or ""
    if request.action == "delete" and selector == EVERY_SNAPSHOT:
        # All but none: takes records along that cannot be read.
        return plan_snapshots_kept(image, (), can_grow=can_grow, tick=tick)
    position = select_snapshot(image, selector)
    if request.action == "apply":
        return plan_snapshot_apply(image, position, can_grow=can_grow, tick=tick)
    plan = plan_snapshots_kept if request.action == "keep" else plan_snapshots_deleted
    return plan(image, (position,), can_grow=can_grow, tick=tick)
