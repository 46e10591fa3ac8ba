"""An image and all that a check knows of it: what planners start from."""

from collections.abc import Callable
from dataclasses import dataclass

from qcow2_dump.checks.checker import Checker
from qcow2_dump.checks.facts import CheckFacts
from qcow2_dump.checks.leaks.triage import LeakJudgement, judge_leaks
from qcow2_dump.checks.pass_refcounts import LeakMap
from qcow2_dump.checks.pass_sharing import SharingFacts
from qcow2_dump.checks.result import CheckResult
from qcow2_dump.image.image import Image

__all__ = ["Checked", "Tick", "check_for_planning"]

Tick = Callable[[str, int, int], None]
"""Told how far a stage has come: its name, bytes done, bytes in all."""


@dataclass(frozen=True, slots=True)
class Checked:
    """What a whole check found. ``judgement`` is None where nothing leaks."""

    image: Image
    facts: CheckFacts
    leaks: LeakMap
    sharing: SharingFacts
    judgement: LeakJudgement | None
    result: CheckResult

    def is_in_doubt(self, *, wary: bool) -> bool:
        """Whether a cluster that loses its last reference may be guest data all the same.

        Where nothing leaks, the reasons for it are looked for only by the ``wary``.
        """
        judgement = self.judgement
        if judgement is None and wary:
            judgement = judge_leaks(self.facts, self.leaks, self.sharing)
        return judgement is not None and (bool(judgement.doubts) or judgement.unstored)

    def has(self, *codes: str) -> bool:
        """Whether anything was found that has one of these codes."""
        return any(code in self.result.tallies for code in codes)


def check_for_planning(
    image: Image,
    *,
    deep: bool = False,
    tick: Tick | None = None,
) -> Checked:
    """Check all of an image. Raises SourceError when it cannot be read.

    ``deep`` decompresses every stream.
    """
    checker = Checker(image, deep=deep)
    for step in checker.run():
        if tick is not None:
            tick(step.stage, min(step.done, step.total), step.total)
    known = (checker.leaks, checker.sharing, checker.judgement)
    return Checked(image, checker.facts, *known, checker.result())
