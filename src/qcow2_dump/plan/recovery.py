"""A change that was interrupted: how far it came, and the two ways on from there.

Between two barriers any subset of the writes may have reached the disk, and a write any subset of
its sectors. So each sector is compared with everything it can hold, and the stretch between
barriers in which the change stopped is the one that explains all of them. What explains nothing
was not done by the change, and then nothing is touched.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from itertools import compress, pairwise
from operator import or_

import numpy as np

from qcow2_dump.errors import JournalError, PlanError, StalePlanError
from qcow2_dump.plan.apply import check_plan, redo, take_back
from qcow2_dump.plan.journal import Digest, Journal
from qcow2_dump.plan.model import Plan, Resize, Step, Write
from qcow2_dump.plan.overlay import OverlaySource
from qcow2_dump.plan.segments import TooTangledError, groups, segments
from qcow2_dump.plan.signal_gate import SignalGate
from qcow2_dump.plan.target import Readable, Target
from qcow2_dump.plan.undo_format import UndoState
from qcow2_dump.plan.versions import SECTOR, held_versions

__all__ = ["Recovery", "examine"]

_PIECE = 1 << 20

# What a real change writes lies in the file, and no more than a few times in one place.
_MOST_TIMES = 16
_ALWAYS_WHOLE = 1 << 30


@dataclass(frozen=True, slots=True)
class Recovery:
    """An interrupted change that fits the image. ``plan`` is the whole of it.

    ``stopped`` is the stretch between barriers in which it stopped: the first and the one after
    the last of its steps. Both ways can be interrupted again, and then begun anew.
    """

    journal: Journal
    plan: Plan
    stopped: tuple[int, int]

    def take_back(self, target: Target) -> None:
        """Bring the image back to what it was before, and remove the undo file.

        Raises SourceError; then the change still counts as interrupted.
        """
        with SignalGate() as gate:
            take_back(self.plan.steps[: self.stopped[1]], target, gate.check)
            self.journal.discard()

    def finish(self, target: Target, digest: Digest) -> None:
        """Do what is left of the change, and mark it as finished. Raises as `take_back`."""
        with SignalGate() as gate:
            redo(self.plan.steps[self.stopped[0] :], target, gate.check)
            self.journal.finish(target.size, digest(OverlaySource(target)))

    def close(self) -> None:
        """Give up the bytes of the plan, and let go of the undo file."""
        self.plan.close()
        self.journal.close()


def examine(journal: Journal, image: Readable, digest: Digest) -> Recovery:
    """How far an interrupted change came; nothing is written.

    Raises JournalError when the change was not interrupted, or the image holds anything that
    neither the change nor what was before it explains; the undo file is kept then. It shares the
    journal, which must stay open.
    """
    if journal.state is not UndoState.READY:
        raise JournalError(f"{journal.path}: the change was not interrupted")
    plan = journal.plan()
    try:
        stopped = _where_it_stopped(plan, image)
        before = OverlaySource(image, plan.inverse(plan.title, "undo"))
        if digest(before) != journal.metadata.state_before:
            raise JournalError("it is of another image, or the image was changed since")
        check_plan(plan, before, results=True)
        plan = _in_whole(plan, before)
    except PlanError as error:
        plan.close()
        why = "the image was changed since" if isinstance(error, StalePlanError) else "altered"
        raise JournalError(f"{journal.path}: {why}: {error}") from error
    except JournalError as error:
        plan.close()
        raise JournalError(f"{journal.path}: {error}") from error
    except BaseException:
        plan.close()
        raise
    return Recovery(journal, plan, stopped)


def _in_whole(plan: Plan, before: OverlaySource) -> Plan:
    """The same plan, with all bytes of writes that lie over each other.

    One of them laid over what another left would make of it what neither explains, and nobody
    could go on from there after the next crash.
    """
    entangled = {
        id(write)
        for group in groups(plan.writes())
        if len(group) > 1
        for write in group
        if write.new.in_place
    }
    _check_room(sum(write.length for write in plan.writes() if id(write) in entangled), before)
    running, steps = OverlaySource(before), list[Step]()
    for step in plan.steps:
        if isinstance(step, Resize):
            running.resize(step.new)
        elif isinstance(step, Write):
            if id(step) in entangled:
                held = running.read(step.offset, step.length)
                old, new = plan.spool.put(held), plan.spool.put(step.new.over(held))
                step = replace(step, old=old, new=new)  # noqa: PLW2901
            running.put(step.offset, step.new)
        steps.append(step)
    return Plan(plan.title, plan.size, steps, plan.spool)


def _check_room(length: int, image: Readable) -> None:
    """Refuse to put more aside than a real change of the image could need."""
    # Of a device it is not known how much it holds.
    if length > _MOST_TIMES * (image.allocated() or image.size) + _ALWAYS_WHOLE:
        raise JournalError("altered: no plan has so many writes over each other")


def _where_it_stopped(plan: Plan, image: Readable) -> tuple[int, int]:
    """The stretch of steps between barriers in which the change stopped."""
    stretches = list(_stretches(plan.steps))
    if not stretches:
        return 0, len(plan.steps)
    stretch_of = [0] * len(plan.steps)
    for number, (start, end) in enumerate(stretches):
        stretch_of[start:end] = [number] * (end - start)
    everything = (1 << len(stretches)) - 1
    possible = _by_size(plan, stretch_of, image.size, everything)
    try:
        for low, high, steps in segments(plan.steps):
            possible &= _by_bytes(plan, stretch_of, image, (low, high), steps, everything)
    except TooTangledError as error:
        raise JournalError("altered: no plan has so many writes of the same place") from error
    if not possible:
        # A disk that ignored the barriers: all of it may have been done, in any order.
        return 0, len(plan.steps)
    return stretches[possible.bit_length() - 1]


def _stretches(steps: Sequence[Step]) -> Iterator[tuple[int, int]]:
    """Stretches of steps between barriers: first and one after the last; a resize is one."""
    start = 0
    for at, step in enumerate(steps):
        if isinstance(step, Write):
            continue
        if start < at:
            yield start, at
        if isinstance(step, Resize):
            yield at, at + 1
        start = at + 1
    if start < len(steps):
        yield start, len(steps)


def _span(first: int, last: int) -> int:
    """The bits from one to another, both included."""
    return (1 << (last + 1)) - (1 << first)


def _by_size(plan: Plan, stretch_of: list[int], size: int, everything: int) -> int:
    """In which stretches the change may have stopped, by the length of the file (a bit each)."""
    known, since, possible = plan.size, 0, 0
    for at, step in enumerate(plan.steps):
        if not isinstance(step, Resize):
            continue
        here = stretch_of[at]
        if size == known:
            possible |= _span(since, here)
        elif min(step.old, step.new) < size < max(step.old, step.new):
            # The system may have been stopped while it made room.
            possible |= 1 << here
        known, since = step.new, here
    if size == known:
        possible |= _span(since, everything.bit_length() - 1)
    if not possible:
        raise JournalError(f"the image was changed since: it has {size:,} bytes")
    return possible


def _by_bytes(
    plan: Plan,
    stretch_of: list[int],
    image: Readable,
    where: tuple[int, int],
    steps: list[int],
    everything: int,
) -> int:
    """In which stretches the change may have stopped, by the bytes of a range (a bit each)."""
    writes = [step for at in steps if isinstance(step := plan.steps[at], Write)]
    bounds = [0, *(stretch_of[at] for at in steps), everything.bit_length() - 1]
    # A version shows from the stretch that makes it up to the one that makes the next.
    spans = [_span(first, last) for first, last in pairwise(bounds)]
    possible = everything
    for low in range(*where, _PIECE):
        equal = held_versions(writes, low, image.read(low, min(_PIECE, where[1] - low)))
        unknown = np.flatnonzero(~equal.any(axis=0))
        if len(unknown):
            offset = max(low, (low // SECTOR + int(unknown[0])) * SECTOR)
            raise JournalError(f"the image was changed since: at offset {offset:#x}")
        for shown in {sector.tobytes() for sector in np.ascontiguousarray(equal.T)}:
            possible &= reduce(or_, compress(spans, shown))
    return possible
