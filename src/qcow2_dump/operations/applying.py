"""A change of an image, from opening it to the last sync.

The image is locked before it is looked at, and stays locked through the question to the user until
all is on the disk: what was planned is what is there. A dry run locks nothing and cannot write.
"""

import os
import stat
from collections.abc import Callable
from typing import TYPE_CHECKING, Self

from qcow2_dump.checks.checker import Checker
from qcow2_dump.checks.recount import recount
from qcow2_dump.checks.result import CheckResult
from qcow2_dump.errors import RequestError
from qcow2_dump.events import ChangeMade
from qcow2_dump.image.image import Image
from qcow2_dump.image.resolver import LookForFiles, NeverLook, Resolver
from qcow2_dump.image.state_digest import source_digest
from qcow2_dump.operations.interrupted import refuse_interrupted
from qcow2_dump.operations.leftovers import KEPT, recall
from qcow2_dump.operations.planning import needs_image, propose, propose_bytes
from qcow2_dump.operations.write_requests import (
    CopyRequest,
    EditRequest,
    RepairRequest,
    WriteOptions,
    WriteRequest,
)
from qcow2_dump.plan.apply import apply_plan
from qcow2_dump.plan.journal import Journal, create_journal
from qcow2_dump.plan.model import Plan
from qcow2_dump.plan.read_back import read_back
from qcow2_dump.storage.file import FileSource
from qcow2_dump.storage.writable import WritableFile

if TYPE_CHECKING:
    from types import TracebackType

    from qcow2_dump.planners.checked import Tick
    from qcow2_dump.planners.proposal import Proposal

__all__ = ["ChangeRun", "OpenedFile", "Unfound", "carry_out"]

Progress = Callable[[int, int], None]

Unfound = Callable[[str], None]
"""Told the path of an undo file that no later run finds by itself, before anything is written."""


class OpenedFile:
    """The file of an image, opened to be changed, or for a dry run only to be read.

    ``source`` is what is read; ``can_grow`` is False for a block device. Raises LockedError when
    somebody has it open, SourceError when it cannot be opened or locked.
    """

    def __init__(self, path: str, options: WriteOptions) -> None:
        self._writable: WritableFile | None = None
        self.source: FileSource | WritableFile
        if options.dry_run:
            self.source = FileSource(path)
            self.can_grow = stat.S_ISREG(os.fstat(self.source.fileno()).st_mode)
        else:
            self.source = self._writable = WritableFile(path, force_unlocked=options.force_unlocked)
            self.can_grow = self._writable.can_grow

    @property
    def target(self) -> WritableFile:
        """What can be written. Raises RequestError for a dry run."""
        if self._writable is None:
            raise RequestError("a dry run writes nothing")
        return self._writable

    def image(self, resolver: Resolver) -> Image:
        """The image as it now is. Raises as `Image` does."""
        return Image(self.source, resolver)

    def read_back(self, plan: Plan) -> None:
        """Look whether what a plan wrote is there, on the disk. Raises SourceError."""
        read_back(plan, self.source)


def carry_out(
    plan: Plan,
    target: WritableFile,
    journal: Journal | None,
    progress: Progress | None,
    unfound: Unfound | None,
) -> None:
    """Apply a plan with its undo file, which is closed then. Raises as `apply_plan`."""
    if journal is None:
        apply_plan(plan, target, None, source_digest, progress)
        return
    try:
        if unfound is not None and not journal.is_found:
            try:
                unfound(journal.path)
            except BaseException:
                journal.discard()
                raise
        apply_plan(plan, target, journal, source_digest, progress)
    finally:
        journal.close()


class ChangeRun:
    """One change of one image: what is proposed, and carrying it out. A context manager.

    ``proposal`` is what would be done, ``image`` the image as it was found, None where an edit or
    a copy works on something else. ``writer_seen`` says that a dry run looks at an image that
    somebody has open for writing. ``tick`` is told how far the check has come.

    Raises LockedError, SourceError, FormatError for what cannot be opened; InterruptedChangeError;
    PlanError and RequestError for what must not or cannot be done.
    """

    def __init__(self, request: WriteRequest, *, tick: "Tick | None" = None) -> None:
        self.request = request
        self._file = OpenedFile(request.image, request.options)
        self.image: Image | None = None
        try:
            refuse_interrupted(request.image)
            self.writer_seen = request.options.dry_run and self._file.source.is_being_written()
            self.proposal = self._propose(tick)
        except BaseException:
            self._file.source.close()
            raise

    def apply(
        self, *, progress: Progress | None = None, unfound: Unfound | None = None
    ) -> ChangeMade:
        """Write what is proposed, with an undo file unless the request declines it.

        Whatever stops it has the image brought back to what it was. Raises StalePlanError,
        JournalError, SourceError, RequestError where an undo file has no place.
        """
        plan, target = self.proposal.plan, self._file.target
        journal = self._journal(plan)
        carry_out(plan, target, journal, progress, unfound)
        if journal is None:
            return ChangeMade(self.request.image, None)
        return ChangeMade(self.request.image, journal.path, journal.is_found)

    def verify(self, *, tick: "Tick | None" = None) -> CheckResult | None:
        """Read back what was written, and look at the image as it now is.

        Where nothing but refcounts and COPIED flags was changed in an image that takes long to
        walk, its refcounts are compared with the references counted before. Returns the check,
        None for a change of which nothing was foretold. Raises SourceError when something reads
        differently.
        """
        proposal = self.proposal
        self._file.read_back(proposal.plan)
        if needs_image(self.request):
            self.image = self._file.image(self._resolver())
        foretold = proposal.after is not None or isinstance(self.request, RepairRequest)
        if self.image is None or not foretold:
            return None
        recall(self.image)
        if proposal.counted is not None and proposal.before is not None:
            known = recount(self.image, proposal.counted, proposal.before)
            if known is not None:
                return known
        return self._check(self.image, tick)

    def _check(self, image: Image, tick: "Tick | None") -> CheckResult:
        checker = Checker(image, deep=getattr(self.request, "deep", False))
        for step in checker.run():
            if tick is not None:
                tick(step.stage, min(step.done, step.total), step.total)
        return checker.result()

    def close(self) -> None:
        """Give up the plan, the image and its lock."""
        self.proposal.close()
        self._file.source.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: "TracebackType | None",
    ) -> None:
        self.close()

    def _propose(self, tick: "Tick | None") -> "Proposal":
        request = self.request
        if isinstance(request, EditRequest | CopyRequest):
            return propose_bytes(request, self._file.source)
        self.image = self._file.image(self._resolver())
        recall(self.image)
        return propose(request, self.image, can_grow=self._file.can_grow, tick=tick)

    def _resolver(self) -> Resolver:
        return LookForFiles() if getattr(self.request, "look_for_backing", True) else NeverLook()

    def _journal(self, plan: Plan) -> Journal | None:
        from qcow2_dump import __version__

        options = self.request.options
        if not options.undo:
            return None
        return create_journal(
            self.request.image,
            plan,
            state_before=source_digest(self._file.source),
            tool_version=__version__,
            replaced=self.proposal.replaced,
            extra={KEPT: self.proposal.kept} if self.proposal.kept else {},
            undo_file=options.undo_file,
        )
