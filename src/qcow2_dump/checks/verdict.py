"""The verdict on one image, and how the verdicts of several findings or images combine."""

from collections.abc import Iterable
from enum import IntEnum

__all__ = ["Verdict"]


class Verdict(IntEnum):
    """What a check says of an image; the value is the exit status.

    Verdicts combine by rank, not by number: a damaged snapshot table outranks damaged mappings
    because it decides what else could be looked at.
    """

    GOOD = 0
    LEAK = 1
    COPIED = 2
    FLAGGED = 3
    WRONG = 4
    SNAPSHOT = 5
    CORRUPT = 6
    FLAG = 7
    OTHER = 8

    @property
    def label(self) -> str:
        """The name that the exit-status table gives it, e.g. ``snapshot-header``."""
        return _LABELS[self]

    @property
    def rank(self) -> int:
        """Its place among all verdicts, 0 for the worst."""
        return _RANKED.index(self)

    @staticmethod
    def worst(verdicts: Iterable["Verdict"]) -> "Verdict":
        """The highest-ranking of some verdicts; GOOD when there are none."""
        return min(verdicts, key=_RANKED.index, default=Verdict.GOOD)


_LABELS = {
    Verdict.GOOD: "good",
    Verdict.LEAK: "leak",
    Verdict.COPIED: "copied",
    Verdict.FLAGGED: "flagged",
    Verdict.WRONG: "wrong",
    Verdict.SNAPSHOT: "snapshot-header",
    Verdict.CORRUPT: "corrupt",
    Verdict.FLAG: "flag",
    Verdict.OTHER: "other",
}

# Worst first. An image that qemu refuses although it is legal must not pass as a mere leak:
# the check lifts OTHER above LEAK for it (`CheckResult.verdict`).
_RANKED = [
    Verdict.SNAPSHOT,
    Verdict.CORRUPT,
    Verdict.WRONG,
    Verdict.COPIED,
    Verdict.LEAK,
    Verdict.FLAGGED,
    Verdict.FLAG,
    Verdict.OTHER,
    Verdict.GOOD,
]
