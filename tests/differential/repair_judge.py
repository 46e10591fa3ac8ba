"""What has to hold after a repair of ours, beside what QEMU makes of the same image.

Only values are judged here, so that the judge itself can be tested.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from tests.differential.repair_guest import Share
from tests.differential.repair_ours import STATUSES, Ran
from tests.differential.repair_stored import Stored

Totals = dict[str, int] | None
"""The totals of `qemu-img check`; None where it refuses the image or gives up."""


LOOKS_FREE = {
    "l2-lost": "as if its writer had died",
    "l2-table-overwritten": "half a table of zeros, as if that part had never been written",
    "l2-unaligned": "the zero flag was set as well: whatever the cluster held, it reads as zeros",
}
"""Damages that may leave nothing which tells guest data from a leak, and why (docs/triage.md)."""


NO_ROOM = {
    "lazy-64k+several+0": "entries name the very end of the file, which must not grow then",
    "snapshots-64k+snapshot-table+0": "as above; QEMU writes records of snapshots without an ID",
}
"""Cases that ours leaves although QEMU goes on, over what may be guest data, and why."""


@dataclass(frozen=True)
class State:
    """An image: what qemu-img finds in it, and how much of the guest's disk is as it was.

    `share` is what the guest can read, `stored` what is in the file.
    """

    totals: Totals
    share: Share
    stored: Stored = field(default_factory=Stored)

    @property
    def mended(self) -> bool:
        """No corruption, and nothing that could not be checked."""
        totals = self.totals
        return totals is not None and totals["corruptions"] == totals["check-errors"] == 0

    @property
    def safe_percent(self) -> float:
        """The part of the guest's clusters that is in the file and not free."""
        return 100 * len(self.stored.safe) / self.stored.of if self.stored.of else 100.0

    @property
    def leaks(self) -> int:
        """Leaks that are left; 0 where nobody counted."""
        return 0 if self.totals is None else self.totals["leaks"]


@dataclass(frozen=True)
class Checked:
    """What our own check finds after the repair; None where it cannot open the image."""

    waste: int
    orphans: int
    corruptions: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Later:
    """What came of further commands: complaints of each, ready to be shown."""

    again: tuple[str, ...] = ()
    undo: tuple[str, ...] = ()
    freed: State | None = None


@dataclass(frozen=True)
class Outcome:
    """All about one case."""

    name: str
    damage: str
    damaged: State
    theirs: State
    ours: State
    ran: Ran
    check: Checked | None
    changed: bool
    later: Later = field(default_factory=Later)

    @property
    def gave_up(self) -> bool:
        """Whether QEMU's repair took away what could be read before it."""
        before, after = self.damaged.share, self.theirs.share
        return bool(before.kept - after.kept) or after.snapshots < before.snapshots


def complaints(outcome: Outcome) -> list[str]:
    """Everything that is not as it has to be; empty when all is well."""
    found = [*_of_the_run(outcome), *_of_the_tables(outcome), *_of_the_guest(outcome)]
    return [*found, *outcome.later.again, *outcome.later.undo, *_of_freeing(outcome)]


def _of_the_run(outcome: Outcome) -> Iterator[str]:
    ran = outcome.ran
    if ran.status not in STATUSES:
        yield f"run: exit status {ran.status}"
    for words in ("Traceback", "internal error"):
        if words in ran.said:
            yield f"run: {words}: {ran.err.strip()}"
    failed = ran.status >= 128
    if failed and outcome.changed:
        yield f"run: failed with {ran.status}, yet the image is another"
    if failed and (ran.err.count("\n") != 1 or not ran.err.strip()):
        yield f"run: failed with {ran.status} without one line that says why: {ran.err!r}"


def _of_the_tables(outcome: Outcome) -> Iterator[str]:
    ours, theirs, before = outcome.ours, outcome.theirs, outcome.damaged
    if theirs.mended and not ours.mended and not (outcome.gave_up or outcome.name in NO_ROOM):
        yield f"corrupt: qemu-img mends it, ours leaves {_words(ours.totals)}: {_said(outcome.ran)}"
    elif not ours.mended:
        yield from _of_what_is_left(outcome)
    if before.totals is not None:
        if ours.totals is None:
            yield "corrupt: QEMU cannot open it any more"
        elif ours.totals["corruptions"] > before.totals["corruptions"]:
            yield f"corrupt: {_words(before.totals)} became {_words(ours.totals)}"
    if outcome.check is None:
        return
    if ours.mended and outcome.check.waste:
        yield f"leak: {outcome.check.waste} clusters of waste are left"
    if ours.totals is not None and ours.leaks > outcome.check.orphans and theirs.mended:
        yield f"leak: {ours.leaks} left, of which triage keeps {outcome.check.orphans}"


def _of_what_is_left(outcome: Outcome) -> Iterator[str]:
    """Neither is able to mend it: ours has to say what is left."""
    if outcome.ran.status == 0:
        yield f"left: called good, qemu-img finds {_words(outcome.ours.totals)}"
    if outcome.check is None:
        if not outcome.ran.err.strip():
            yield "left: refused without a word"
        return
    unsaid = [code for code in sorted(outcome.check.corruptions) if code not in outcome.ran.said]
    if unsaid:
        yield f"left: not said: {', '.join(unsaid)}"


def _of_the_guest(outcome: Outcome) -> Iterator[str]:
    ours, theirs, damaged = outcome.ours.share, outcome.theirs.share, outcome.damaged.share
    if len(ours.kept) < len(theirs.kept):
        yield f"guest: {len(ours.kept)} clusters of {ours.of} kept, {len(theirs.kept)} by qemu-img"
    # By punching holes QEMU may make less of what is read through a table that is none.
    if ours.wrong > damaged.wrong:
        yield f"guest: {ours.wrong} clusters wrong, {damaged.wrong} before, of {ours.of}"
    if ours.snapshots < damaged.snapshots:
        yield f"guest: {ours.snapshots} snapshots of {damaged.snapshots}"
    lost = damaged.kept - ours.kept
    if lost:
        yield f"guest: {len(lost)} clusters given up that could be read: {sorted(lost)[:4]}"
    had, has = outcome.damaged.stored, outcome.ours.stored
    erased = had.intact - has.intact
    if erased:
        yield f"stored: {len(erased)} clusters of guest data overwritten: {sorted(erased)[:4]}"
    freed = outcome.theirs.stored.safe - has.safe
    if outcome.damage not in LOOKS_FREE:
        freed |= had.safe - has.safe
    if freed:
        yield f"freed: {len(freed)} clusters of guest data are free now: {sorted(freed)[:4]}"


def _of_freeing(outcome: Outcome) -> Iterator[str]:
    freed = outcome.later.freed
    if freed is None:
        return
    rival = outcome.theirs
    if rival.mended and not rival.leaks and freed.leaks and not outcome.gave_up:
        yield f"free-orphans: {freed.leaks} leaks left, qemu-img leaves none"
    if outcome.ours.mended and not freed.mended:
        yield f"free-orphans: left {_words(freed.totals)}"


def _words(totals: Totals) -> str:
    if totals is None:
        return "what qemu-img refuses"
    shown = ("corruptions", "leaks", "check-errors")
    return ", ".join(f"{totals[key]} {key}" for key in shown)


def _said(ran: Ran) -> str:
    lines = ran.said.strip().splitlines()
    return f"[{ran.status}] {lines[-1] if lines else 'nothing'}"
