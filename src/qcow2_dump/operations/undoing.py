"""Taking back the last change of an image, or dealing with one that was interrupted."""

from collections.abc import Callable
from types import TracebackType
from typing import Self

from qcow2_dump.checks.result import CheckResult
from qcow2_dump.errors import JournalError, Qcow2Error, RequestError
from qcow2_dump.events import ChangeMade
from qcow2_dump.image.image import Image
from qcow2_dump.image.resolver import NeverLook
from qcow2_dump.image.state_digest import source_digest
from qcow2_dump.operations.applying import OpenedFile, Unfound, carry_out
from qcow2_dump.operations.interrupted import interrupted_change, refuse_interrupted
from qcow2_dump.operations.write_requests import UndoRequest
from qcow2_dump.plan.apply import check_plan
from qcow2_dump.plan.journal import Journal, create_journal, latest_change, open_journal
from qcow2_dump.plan.recovery import Recovery, examine
from qcow2_dump.plan.undo_files import UndoFile, find_undo_files, read_undo_file
from qcow2_dump.plan.undo_format import FinishMark, UndoMetadata
from qcow2_dump.planners.proposal import Proposal

__all__ = ["UndoRun", "undo_files"]

Progress = Callable[[int, int], None]


def undo_files(request: UndoRequest) -> list[UndoFile]:
    """What is known of the undo files of an image, the newest first. Raises nothing."""
    named = request.options.undo_file
    if named is not None:
        return [read_undo_file(named)]
    return find_undo_files(request.image)[::-1]


class UndoRun:
    """Going back one change; has the parts of `ChangeRun`.

    ``interrupted`` says that the change never came to its end: then it is taken back without
    another undo file, or with ``finish`` of the request brought to its end.

    Raises LockedError, SourceError; JournalError when an undo file cannot be used or the image was
    used since; RequestError when there is nothing to take back, or to finish.
    """

    def __init__(self, request: UndoRequest) -> None:
        self.request = request
        self.image: Image | None = None
        self._recovery: Recovery | None = None
        self._journal: Journal | None = None
        self._earlier: str | None = None
        self._file = OpenedFile(request.image, request.options)
        try:
            self.writer_seen = request.options.dry_run and self._file.source.is_being_written()
            self.proposal = self._propose()
            self.image = self._opened()
        except BaseException:
            self._close_files()
            raise

    @property
    def interrupted(self) -> bool:
        """Whether the change was interrupted."""
        return self._recovery is not None

    def apply(
        self, *, progress: Progress | None = None, unfound: Unfound | None = None
    ) -> ChangeMade:
        """Do it. Raises as `ChangeRun.apply`."""
        target, name = self._file.target, self.request.image
        if self._recovery is not None and self._journal is not None:
            if self.request.finish:
                self._recovery.finish(target, source_digest)
                return ChangeMade(name, self._journal.path, self._journal.is_found)
            self._recovery.take_back(target)
            return ChangeMade(name, None)
        journal = self._undo_of_undo()
        carry_out(self.proposal.plan, target, journal, progress, unfound)
        if journal is None:
            return ChangeMade(name, None, earlier=self._earlier)
        return ChangeMade(name, journal.path, journal.is_found, self._earlier)

    def verify(self, *, tick: object = None) -> CheckResult | None:
        """Read back what was written. Raises SourceError when something reads differently."""
        del tick  # nothing is checked: the image is what it was, good or bad
        self._file.read_back(self.proposal.plan)
        self.image = self._opened()
        return None

    def close(self) -> None:
        """Give up the plan, the undo file, the image and its lock."""
        self.proposal.close()
        self._close_files()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _propose(self) -> Proposal:
        known = self._interrupted()
        if known is not None:
            return self._recover(known)
        if self.request.options.undo_file is None:
            # What cannot be read may tell of a change that was interrupted.
            refuse_interrupted(self.request.image)
        if self.request.finish:
            raise RequestError("no change was interrupted: there is nothing to finish")
        found = self._latest()
        self._journal = open_journal(found)
        plan = self._journal.undo_plan(self._file.source, source_digest)
        try:
            check_plan(plan, self._file.source, results=True)
        except BaseException:
            plan.close()
            raise
        self._earlier = self._change_before(self._journal.metadata, found)
        return Proposal(plan, [f"Taken back is the change of {self._journal.metadata.date}."])

    def _change_before(self, taken_back: UndoMetadata, found: UndoFile) -> str | None:
        """The undo file of the change before one that is taken back, if there is one.

        It left the image as it will be then, and does not just lead to where it is now.
        """
        here = None if found.finish is None else found.finish.state_after
        there = FinishMark(taken_back.size_before, taken_back.state_before)
        for known in find_undo_files(self.request.image)[::-1]:
            if known.metadata is not None and known.finish == there:
                return None if known.metadata.state_before == here else known.path
        return None

    def _interrupted(self) -> UndoFile | None:
        named = self.request.options.undo_file
        if named is None:
            return interrupted_change(self.request.image)
        known = read_undo_file(named, self.request.image)
        return known if known.is_interrupted else None

    def _recover(self, known: UndoFile) -> Proposal:
        self._journal = open_journal(known)
        try:
            self._recovery = examine(self._journal, self._file.source, source_digest)
        except JournalError as error:
            raise JournalError(
                f"{error}; it can neither be taken back nor finished. Keep a copy of both files; "
                "without its undo file the image can be changed again"
            ) from error
        plan = self._recovery.plan
        date = self._journal.metadata.date
        if self.request.finish:
            note = f"The change of {date} was interrupted. What is left of it is done."
            return Proposal(plan, [note])
        back = plan.inverse(f"Take back: {plan.title}", "undo")
        note = f"The change of {date} was interrupted. What was done of it is taken back."
        return Proposal(back, [note, "To finish it instead: --finish"])

    def _latest(self) -> UndoFile:
        named = self.request.options.undo_file
        if named is not None:
            return read_undo_file(named)
        source = self._file.source
        found = latest_change(self.request.image, source, source_digest)
        if found is not None:
            return found
        for known in undo_files(self.request):
            if known.problem is not None:
                raise JournalError(f"{known.path}: {known.problem}")
            if known.finish is not None:
                # It says what is wrong: the image was used since.
                return known
        raise RequestError(
            "there is no undo file beside it: nothing can be taken back, "
            "unless --undo-file names one"
        )

    def _undo_of_undo(self) -> Journal | None:
        from qcow2_dump import __version__

        options, named = self.request.options, self.request.options.undo_file
        if not options.undo:
            return None
        if named is not None and self._lies_beside(named):
            named = None
        return create_journal(
            self.request.image,
            self.proposal.plan,
            state_before=source_digest(self._file.source),
            tool_version=__version__,
            # Where nothing can lie beside the image, it lies beside the one that is taken back.
            undo_file=None if named is None else f"{named}.undo",
        )

    def _lies_beside(self, named: str) -> bool:
        """Whether an undo file lies beside the image under a name of its own."""
        known = read_undo_file(named, self.request.image)
        return known.number is not None and known.pointer is None

    def _opened(self) -> Image | None:
        """The image as it now is, None where it is none."""
        try:
            return self._file.image(NeverLook())
        except Qcow2Error:
            return None

    def _close_files(self) -> None:
        if self._recovery is not None:
            self._recovery.plan.close()
        if self._journal is not None:
            self._journal.close()
        self._file.source.close()
