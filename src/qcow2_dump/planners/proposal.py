"""What a planner proposes: a plan, and what a person has to know before agreeing to it."""

from dataclasses import dataclass, field

from qcow2_dump.checks.facts import CheckFacts
from qcow2_dump.checks.result import CheckResult
from qcow2_dump.plan.model import Plan

__all__ = ["GuestLoss", "Proposal"]


@dataclass(frozen=True, slots=True)
class GuestLoss:
    """A range of the guest's disk that is given up: offset and length in bytes.

    ``trees`` names the first trees that lose it, ``why`` says in words what led there.
    """

    offset: int
    length: int
    trees: tuple[str, ...]
    why: str


@dataclass(slots=True)
class Proposal:
    """A plan and what comes of it.

    ``notes`` are sentences for people: what is kept, what is left, what to do next. ``losses``
    are guest ranges given up, as was asked for: the first of them, ``losses_total`` in all.
    ``before`` is the check of the image as it is; ``after`` that of the image as it would be,
    None each where nobody looked. ``kept`` are byte ranges ``(start, end)`` of leaked clusters that
    may be guest data, ``replaced`` those of structures that are given up: for the undo file, from
    which later checks know of them. ``counted`` are the facts of ``before``, where ``after`` was
    known from them without another check.
    """

    plan: Plan
    notes: list[str] = field(default_factory=list)
    losses: list[GuestLoss] = field(default_factory=list)
    losses_total: int = 0
    before: CheckResult | None = None
    after: CheckResult | None = None
    kept: tuple[tuple[int, int], ...] = ()
    replaced: tuple[tuple[int, int], ...] = ()
    counted: CheckFacts | None = None

    def close(self) -> None:
        """Give up the bytes of the plan."""
        self.plan.close()
