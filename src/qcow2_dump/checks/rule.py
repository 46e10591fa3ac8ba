"""What one row of the findings catalogue says."""

import re
from dataclasses import dataclass
from enum import StrEnum

from qcow2_dump.checks.verdict import Verdict

__all__ = ["Impact", "Rule", "Severity"]

# "entr{y|ies}": what one place is called, and what several are.
_ONE_OR_MORE = re.compile(r"\{([^|}]*)\|([^|}]*)\}")


class Severity(StrEnum):
    """How bad a finding is; corruptions and leaks are also counted in the totals."""

    CORRUPTION = "corruption"
    LEAK = "leak"
    WARNING = "warning"
    NOTE = "note"

    @property
    def rank(self) -> int:
        """0 for the worst; what is shown first."""
        return list(Severity).index(self)


class Impact(StrEnum):
    """What a finding means for the guest range that it names."""

    NONE = "none"
    UNREADABLE = "unreadable"
    DOUBT = "in doubt"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One kind of finding: how it is graded, and how it is told to a person.

    ``headline`` says what was found: ``#`` stands for the number of places, ``{one|more}`` for a
    word that depends on it; without ``#`` the thing exists once. ``meaning`` says what it is,
    ``cause`` how it comes about, ``effect`` what it does to the guest, and ``repair`` what
    `repair` does about it. ``option`` is the option of ``repair`` that mends it, None where it
    cannot be mended without losing something.
    """

    code: str
    severity: Severity
    verdict: Verdict
    headline: str
    meaning: str
    cause: str
    effect: str
    repair: str
    option: str | None = None
    impact: Impact = Impact.NONE

    def tell(self, places: int) -> str:
        """The headline for a number of places, e.g. ``2 L1 entries point past the end``."""
        words = _ONE_OR_MORE.sub(lambda m: m[1] if places == 1 else m[2], self.headline)
        if "#" in words:
            return words.replace("#", f"{places:,}")
        return words if places == 1 else f"{words} ({places:,} times)"

    @property
    def in_clusters(self) -> bool:
        """Whether a place is one host cluster, so that the number of places is also a size."""
        return self.headline.startswith("# cluster")

    @property
    def title(self) -> str:
        """The headline without a number, as the heading of an explanation."""
        words = _ONE_OR_MORE.sub(lambda m: m[2], self.headline.removeprefix("# "))
        return words[:1].upper() + words[1:]
