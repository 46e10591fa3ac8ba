"""How a change is shown, as text or as one JSON document: plan, question, and what came of it."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from qcow2_dump.checks.result import CheckResult
from qcow2_dump.cli.asked import Asked
from qcow2_dump.cli.failure import reason_of
from qcow2_dump.cli.output import Output, complain, wants_color
from qcow2_dump.cli.request_words import done_words, typed
from qcow2_dump.errors import Qcow2Error
from qcow2_dump.events import ChangeMade
from qcow2_dump.operations.write_requests import RepairRequest, WriteRequest
from qcow2_dump.report.change_text import AfterChange, change_report
from qcow2_dump.report.commands import undo_command
from qcow2_dump.report.document import STATUS_OF_VERDICT
from qcow2_dump.report.plan_json import Outcome, failure_document, plan_document, to_line
from qcow2_dump.report.plan_text import PlanOptions, nothing_to_do, plan_report
from qcow2_dump.report.style import Style

if TYPE_CHECKING:
    from qcow2_dump.operations.applying import ChangeRun
    from qcow2_dump.operations.undoing import UndoRun
    from qcow2_dump.report.plan_document import ChangeStatus

__all__ = ["ShownChange"]

# Of each reason, where somebody waits for a question.
_SUMMARY = 5


class ShownChange:
    """Shows what becomes of one request. Raises OSError when that cannot be written."""

    def __init__(self, asked: Asked, request: WriteRequest) -> None:
        self._json = asked.json
        self._request = request
        self._has_shown = False
        self._style = Style(wants_color(asked.color))

    def nothing(self, run: "ChangeRun | UndoRun", status: int) -> None:
        """There is nothing to do."""
        before = run.proposal.before
        if self._json:
            word = self._word(before, "nothing-to-do")
            dry_run = self._request.options.dry_run
            self._document(run, Outcome(status=word, exit_status=status, dry_run=dry_run))
        else:
            name, left = self._request.image, self._tells_what_is_left
            self._print(nothing_to_do(name, run.proposal, run.image, self._style, left=left))

    def planned(self, run: "ChangeRun | UndoRun", status: int) -> None:
        """The plan of a dry run, and the line that carries it out."""
        if self._json:
            word = self._word(run.proposal.before, "planned")
            self._document(run, Outcome(status=word, exit_status=status, dry_run=True))
            return
        self._print(self._plan(run))
        self._print(["", f"  next: {typed(self._request, '--yes')}"])

    def summary(self, run: "ChangeRun | UndoRun") -> None:
        """The plan in short, before the question; where it does not mix with JSON."""
        if not self._json:
            self._print(self._plan(run, per_reason=_SUMMARY))
            return
        for line in self._plan(run, per_reason=_SUMMARY):
            complain(line)

    def declined(
        self, run: "ChangeRun | UndoRun", status: int, reason: str, *, repeat: bool = True
    ) -> None:
        """Nobody agreed. The plan is shown unless it was (``repeat``)."""
        if self._json:
            self._document(run, Outcome(status="declined", exit_status=status, error=reason))
        elif repeat:
            self._print(self._plan(run))
            self._print(["", f"  next: {typed(self._request, '--yes')}"])

    def made(
        self,
        made: ChangeMade,
        run: "ChangeRun | UndoRun",
        result: CheckResult | None,
        status: int,
    ) -> None:
        """The change was made."""
        if self._json:
            outcome = Outcome(
                status=self._word(result, "done"),
                exit_status=status,
                applied=True,
                undo_file=made.undo_file,
                undo_command=undo_command(made),
                after=result,
            )
            self._document(run, outcome)
            return
        now = AfterChange(run.image, result)
        done = done_words(self._request)
        left = self._tells_what_is_left
        self._print(change_report(made, run.proposal, now, done, self._style, left=left))

    def unverified(
        self, made: ChangeMade, run: "ChangeRun | UndoRun", status: int, reason: str
    ) -> None:
        """The document on a change that was made, but not looked at afterwards for this reason."""
        if self._json and not self._has_shown:
            outcome = Outcome(
                status="interrupted",
                exit_status=status,
                applied=True,
                undo_file=made.undo_file,
                undo_command=undo_command(made),
                error=reason,
            )
            self._document(run, outcome)

    def interrupted(self, status: int, reason: str) -> None:
        """The document on a change that a signal ended, unless one was begun already."""
        if self._json and not self._has_shown:
            request = self._request
            document = failure_document(
                request.image, typed(request), reason, None, status, word="interrupted"
            )
            self._print([to_line(document)])

    def failed(self, error: Qcow2Error, status: int) -> None:
        """The document on a change that failed; people are told on standard error."""
        if self._json:
            request = self._request
            document = failure_document(
                request.image, typed(request), reason_of(error), error.errno, status
            )
            self._print([to_line(document)])

    def _plan(self, run: "ChangeRun | UndoRun", per_reason: int | None = None) -> Iterable[str]:
        options = PlanOptions(self._request.options.max_changes, per_reason, self._style)
        return plan_report(self._request.image, run.proposal, run.image, options)

    def _document(self, run: "ChangeRun | UndoRun", outcome: Outcome) -> None:
        request = self._request
        document = plan_document(
            request.image,
            typed(request),
            run.proposal,
            outcome,
            request.options.max_changes,
            run.image,
        )
        self._print([to_line(document)])

    @property
    def _tells_what_is_left(self) -> bool:
        return isinstance(self._request, RepairRequest)

    def _word(self, result: CheckResult | None, otherwise: "ChangeStatus") -> "ChangeStatus":
        if isinstance(self._request, RepairRequest) and result is not None:
            return STATUS_OF_VERDICT[result.verdict]
        return otherwise

    def _print(self, lines: Iterable[str]) -> None:
        self._has_shown = True
        output = Output()
        output.lines(lines)
        output.flush()
