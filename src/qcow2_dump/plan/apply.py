"""Doing what a plan says, or nothing: whatever stops it half way has it taken back."""

import errno
from collections.abc import Callable, Iterable, Sequence

from qcow2_dump.errors import JournalError, StalePlanError, UnsafePlanError
from qcow2_dump.plan.comparing import first_difference
from qcow2_dump.plan.journal import Digest, Journal
from qcow2_dump.plan.model import Barrier, Plan, Resize, Step, Write
from qcow2_dump.plan.overlay import OverlaySource
from qcow2_dump.plan.signal_gate import SignalGate
from qcow2_dump.plan.spool import any_bits
from qcow2_dump.plan.target import Readable, Target
from qcow2_dump.plan.undo_format import UndoState

__all__ = ["Progress", "apply_plan", "check_plan", "redo", "take_back"]

Progress = Callable[[int, int], None]
"""Called with the bytes written so far and the bytes to write in all."""

_PIECE = 1 << 20
# What is taken back is compared and written in blocks that no file system splits: where nothing
# had been written yet, a full disk must not be asked for room.
_BLOCK = 4096

_TAKEN_BACK = "what was written was taken back, and the image is as it was"
_UNTOUCHED = "nothing was written"


def apply_plan(
    plan: Plan,
    target: Target,
    journal: Journal | None,
    digest: Digest | None = None,
    progress: Progress | None = None,
) -> None:
    """Carry out a plan; ``journal`` is the undo file made for it, None for no undo file.

    ``digest`` is the caller's digest of the image, kept in the finish mark of the undo file.
    Whatever is raised meanwhile (SourceError, a signal, anything out of ``digest`` or
    ``progress``) has the image brought back to what it was and the undo file removed, and is then
    raised again, with a note that says so. Signals have to wait until the image can be left alone.

    Raises StalePlanError when the image does not hold what the plan expects, UnsafePlanError for
    a plan that cannot be right: both before anything is written. Raises JournalError when the
    image could not be brought back, or the undo file not be marked as finished; its message says
    what is left.
    """
    if journal is not None and journal.state is not UndoState.READY:
        raise JournalError(f"{journal.path}: it is the undo file of a change already made")
    begun = 0
    with SignalGate() as gate:
        try:
            check_plan(plan, target)
            done, total = 0, plan.bytes_written
            for step in plan.steps:
                gate.check()
                begun += 1
                _do(step, target)
                if isinstance(step, Write) and progress is not None:
                    done += step.length
                    progress(done, total)
            # It looks at what was written while the disk is still at it.
            state = "" if journal is None or digest is None else digest(OverlaySource(target))
            target.sync()
            gate.check()
        except BaseException as error:
            if begun and isinstance(error, StalePlanError):
                # Nothing of this step was written: what is there now is not ours to take back.
                begun -= 1
            _roll_back(plan.steps[:begun], target, journal)
            error.add_note(_TAKEN_BACK if begun else _UNTOUCHED)
            raise
        if journal is not None:
            _finish(journal, target, state)


def check_plan(plan: Plan, source: Readable, *, results: bool = False) -> None:
    """Look whether a plan can be applied to an image, without changing anything.

    With ``results``, also whether it makes of the image what it says: one that was made in this
    process does. Raises StalePlanError when the image does not hold what the plan expects;
    UnsafePlanError for writes past the end of the file, for cutting off anything but zeros, and
    for words that make something else of a place than is said.
    """
    if plan.size != source.size:
        raise StalePlanError(
            f"the image has {source.size:,} bytes, no longer the {plan.size:,} of the plan"
        )
    running, resized = OverlaySource(source), False
    for step in plan.steps:
        if isinstance(step, Resize):
            _check_resize(step, running, can_grow=getattr(source, "can_grow", True))
            running.resize(step.new)
            resized = True
        elif isinstance(step, Write):
            if step.end > running.size or step.old.length != step.length or step.offset < 0:
                raise UnsafePlanError(f"a write at offset {step.offset:#x} does not fit the file")
            over = running.stretches(step.offset, step.end)
            _check_old(step, running if over or resized else source)
            running.put(step.offset, step.new)
            made = step.new if results and step.new.in_place else None
            if made is not None and first_difference(made, step.offset, running) is not None:
                raise UnsafePlanError(f"a write at offset {step.offset:#x} is not what it says")


def take_back(steps: Sequence[Step], target: Target, check: Callable[[], None]) -> None:
    """Undo steps of which any part has been done, the last one first, and sync.

    ``check`` is called where the image may be left as it is, and may raise.
    """
    for step in reversed(steps):
        check()
        if isinstance(step, Write):
            _bring(target, step, back=True)
        elif isinstance(step, Resize):
            _bring_size(target, step.old)
        else:
            target.sync()
    target.sync()


def redo(steps: Iterable[Step], target: Target, check: Callable[[], None]) -> None:
    """Do steps of which any part has been done already, and sync; ``check`` as in `take_back`."""
    for step in steps:
        check()
        if isinstance(step, Write):
            _bring(target, step, back=False)
        elif isinstance(step, Resize):
            _bring_size(target, step.new)
        else:
            target.sync()
    target.sync()


def _do(step: Step, target: Target) -> None:
    if isinstance(step, Barrier):
        target.sync()
    elif isinstance(step, Resize):
        # A length is known to be on the disk before anything relies on it.
        target.sync()
        target.resize(step.new)
        target.sync()
    elif step.new.in_place:
        _change_words(step, target)
    else:
        _check_old(step, target)
        for start in range(0, step.length, _PIECE):
            target.write_at(step.offset + start, step.new.read(start, _PIECE))


def _change_words(write: Write, target: Target) -> None:
    """Write a few words. What lies around them was looked at before, and stays as it is."""
    held = bytearray(write.length)
    target.read_into(write.offset, memoryview(held))
    if not write.new.swap_into(held):
        raise _stale(write.offset)
    target.write_at(write.offset, held)


def _check_old(write: Write, source: Readable) -> None:
    """Compare what is there with what the plan expects. Raises StalePlanError."""
    differs = first_difference(write.old, write.offset, source)
    if differs is not None:
        raise _stale(differs)


def _stale(offset: int) -> StalePlanError:
    return StalePlanError(f"the bytes at offset {offset:#x} are no longer those of the plan")


def _check_resize(step: Resize, running: OverlaySource, *, can_grow: bool) -> None:
    if step.old != running.size or step.new < 0:
        raise UnsafePlanError("the plan has a wrong notion of the length of the file")
    if step.new != step.old and not can_grow:
        raise UnsafePlanError("the length of a block device cannot be changed")
    for low, high in running.data_ranges(step.new, step.old):
        for start in range(low, high, _PIECE):
            # Bytes cut off are nowhere kept, so they could not be brought back.
            if any_bits(running.read(start, min(_PIECE, high - start))):
                raise UnsafePlanError(f"the plan would cut off data at offset {start:#x}")


def _bring(target: Target, write: Write, *, back: bool) -> None:
    """Have the old or the new bytes of a write in their place."""
    wanted_bytes = write.old if back else write.new
    for start in range(0, write.length, _PIECE):
        at = write.offset + start
        held = target.read(at, min(_PIECE, write.length - start))
        wanted = wanted_bytes.over(held, start)
        if held == wanted:
            continue
        low = 0
        while low < len(wanted):
            high = min(len(wanted), ((at + low) // _BLOCK + 1) * _BLOCK - at)
            if held[low:high] != wanted[low:high]:
                target.write_at(at + low, wanted[low:high])
            low = high


def _bring_size(target: Target, size: int) -> None:
    target.sync()
    if target.size != size:
        target.resize(size)
        target.sync()


def _roll_back(begun: Sequence[Step], target: Target, journal: Journal | None) -> None:
    """Bring the image back, and remove the undo file. Raises JournalError when that fails."""
    try:
        if not all(isinstance(step, Barrier) for step in begun):
            take_back(begun, target, lambda: None)
    except Exception as error:
        if journal is None:
            left = "there is no undo file, and the image is left half changed"
        else:
            named = "" if journal.is_found else f" --undo-file {journal.path}"
            undo = f"qcow2-dump undo {target.name}{named}"
            left = f"{journal.path} keeps what it held, and {undo} uses it"
        failed = JournalError(f"the change could not be taken back ({error}): {left}")
        failed.errno = getattr(error, "errno", None) or errno.EIO
        raise failed from error
    if journal is not None:
        journal.discard()


def _finish(journal: Journal, target: Target, state: str) -> None:
    try:
        journal.finish(target.size, state)
    except Exception as error:
        # All of the change is on the disk; whichever way the mark went, it can be undone.
        failed = JournalError(
            f"the change is complete, but its undo file was not marked as finished: {error}"
        )
        failed.errno = getattr(error, "errno", None) or errno.EIO
        raise failed from error
