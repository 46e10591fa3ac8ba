"""Everything that changes an image: shown first, agreed to, written, and told.

`repair`, `undo`, `snapshot`, `flag`, `edit`, `copy` and `rebase` differ in what they plan; from
there on they are the same, in both faces.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

from qcow2_dump.checks.result import CheckResult
from qcow2_dump.cli import exit_status
from qcow2_dump.cli.asked import Asked
from qcow2_dump.cli.classic_change import before_classic_repair
from qcow2_dump.cli.consent import agrees, can_ask, choose_one
from qcow2_dump.cli.exit_status import StatusTable
from qcow2_dump.cli.failure import report_failure, warn_of_writer
from qcow2_dump.cli.output import complain
from qcow2_dump.cli.progress import progress
from qcow2_dump.cli.request_words import speaker
from qcow2_dump.cli.shown_change import ShownChange
from qcow2_dump.cli.signals import Stopped
from qcow2_dump.errors import InterruptedChangeError, Qcow2Error
from qcow2_dump.events import ChangeMade, Progress
from qcow2_dump.operations.applying import ChangeRun
from qcow2_dump.operations.changing import open_for_change
from qcow2_dump.operations.interrupted import interrupted_change
from qcow2_dump.operations.undoing import UndoRun
from qcow2_dump.operations.write_requests import (
    RepairRequest,
    UndoRequest,
    WriteOptions,
    WriteRequest,
)
from qcow2_dump.report.commands import undo_command
from qcow2_dump.report.escape import printable

if TYPE_CHECKING:
    from qcow2_dump.report.progress import ProgressBar

__all__ = ["change_image"]

Run = ChangeRun | UndoRun

_AS_IT_WAS = "the image is as it was"
_STILL = "the change before is still unfinished: undo can be asked for it again"
_WAYS = {
    "back": "take back what was done of it (the image is then as it was before)",
    "finish": "do what is left of it",
    "cancel": "leave everything as it is",
}


def change_image(asked: Asked, request: WriteRequest) -> int:
    """Do a change that was asked for, or show it; returns the exit status.

    What fails about the image is told on standard error. Raises OSError when standard output
    cannot be written, `Stopped` after the image was brought back to what it was.
    """
    if isinstance(request, UndoRequest) and _open_question(request):
        return _settle(asked, request.image, request.options)
    shown = ShownChange(asked, request)
    try:
        return _change(asked, request, shown)
    except Stopped as stopped:
        shown.interrupted(exit_status.of_signal(stopped.number), "interrupted; nothing was written")
        raise
    except InterruptedChangeError as error:
        usable = interrupted_change(request.image) is not None
        if request.options.yes or request.options.dry_run or not (usable and can_ask()):
            return _failed(asked, request, error, shown)
    except Qcow2Error as error:
        return _failed(asked, request, error, shown)
    settled = _settle(asked, request.image, request.options)
    return settled if settled != exit_status.OK else change_image(asked, request)


def _open_question(request: UndoRequest) -> bool:
    """Whether only the user can say what is to become of a change that was interrupted."""
    options = request.options
    decided = request.finish or options.yes or options.dry_run or options.undo_file is not None
    return not decided and can_ask() and interrupted_change(request.image) is not None


def _change(asked: Asked, request: WriteRequest, shown: ShownChange) -> int:
    with progress() as bar:
        if bar is not None:
            bar.start(request.image)
        tick = _ticking(bar)
        with open_for_change(request, tick=tick) as run:
            if bar is not None:
                bar.clear()
            if run.writer_seen:
                warn_of_writer(_speaker(asked, request), request.image)
            return _carry_out(run, asked, shown, tick)


def _carry_out(
    run: Run, asked: Asked, shown: ShownChange, tick: "Callable[[str, int, int], None] | None"
) -> int:
    """From the plan to the end."""
    request, options = run.request, run.request.options
    before_classic_repair(run, asked)
    if run.proposal.plan.is_empty:
        status = _status(request, run.proposal.before)
        shown.nothing(run, status)
        return status
    if options.dry_run:
        status = _status(request, run.proposal.before)
        shown.planned(run, status)
        return status
    if not options.yes and not _consented(run, asked, shown):
        return exit_status.USAGE
    who = f"qcow2-dump {_speaker(asked, request)}: {printable(request.image)}"
    try:
        made = run.apply(unfound=lambda undo_file: _warn_unfound(who, request.image, undo_file))
    except Stopped as stopped:
        recovering = isinstance(run, UndoRun) and run.interrupted
        reason = f"interrupted, and {_STILL if recovering else _AS_IT_WAS}"
        complain(f"{who}: {reason}")
        shown.interrupted(exit_status.of_signal(stopped.number), reason)
        raise
    try:
        result = run.verify(tick=tick)
        status = _status(request, result)
        shown.made(made, run, result, status)
    except Stopped as stopped:
        reason = "the change is complete; only the look at it afterwards was interrupted"
        complain(f"{who}: {reason}")
        shown.unverified(made, run, exit_status.of_signal(stopped.number), reason)
        raise
    except Qcow2Error as error:
        error.add_note("the change is complete, but the image could not be looked at afterwards")
        raise
    return status


def _warn_unfound(who: str, image: str, undo_file: str) -> None:
    """Say what an undo file that nothing beside the image leads to means, should it be needed."""
    undo = undo_command(ChangeMade(image, undo_file, is_found=False))
    complain(
        f"{who}: no file that leads to the undo file can be made beside the image: should this be "
        f"killed, no later command will notice; `{undo}` takes it back then"
    )


def _consented(run: Run, asked: Asked, shown: ShownChange) -> bool:
    """Show the plan and have it agreed to; says what else would be needed."""
    request = run.request
    who = f"qcow2-dump {_speaker(asked, request)}: {printable(request.image)}"
    if not can_ask():
        reason = "nothing was written: there is no terminal to ask on, and --yes agrees beforehand"
        shown.declined(run, exit_status.USAGE, reason)
        complain(f"{who}: {reason}")
        return False
    shown.summary(run)
    if agrees(request.image):
        return True
    shown.declined(run, exit_status.USAGE, "nothing was written: declined", repeat=False)
    complain(f"{who}: nothing was written")
    return False


def _settle(asked: Asked, image: str, options: WriteOptions) -> int:
    """Ask what to do about a change that was interrupted, and do it; returns the exit status."""
    question = f"{printable(image)}: an earlier change was interrupted. What shall be done with it?"
    way = choose_one(question, _WAYS, "cancel")
    if way == "cancel":
        complain(f"qcow2-dump undo: {printable(image)}: nothing was written")
        return exit_status.USAGE
    agreed = WriteOptions(yes=True, force_unlocked=options.force_unlocked)
    settling = UndoRequest(image=image, finish=way == "finish", options=agreed)
    return change_image(Asked(request=settling, color=asked.color), settling)


def _failed(asked: Asked, request: WriteRequest, error: Qcow2Error, shown: ShownChange) -> int:
    shown.failed(error, exit_status.of_errno(error.errno))
    return report_failure(_speaker(asked, request), request.image, error)


def _speaker(asked: Asked, request: WriteRequest) -> str:
    return speaker(request, classic=asked.classic is not None)


def _status(request: WriteRequest, result: CheckResult | None) -> int:
    """A repair says how the image is, everything else that it was done."""
    if isinstance(request, RepairRequest) and result is not None:
        return StatusTable().of_result(result)
    return exit_status.OK


def _ticking(bar: "ProgressBar | None") -> "Callable[[str, int, int], None] | None":
    if bar is None:
        return None
    return lambda stage, done, total: bar.show(Progress(stage, done, total))
