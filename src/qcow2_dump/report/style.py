"""Colours for a terminal. Whether there are any is decided by who asks for the report."""

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:  # who has a verdict or a severity to show has imported them already
    from qcow2_dump.checks.rule import Severity
    from qcow2_dump.checks.verdict import Verdict

__all__ = ["Style"]

_RED, _GREEN, _YELLOW = "31", "32", "33"
_BOLD, _DIM = "1", "2"


class Style(NamedTuple):
    """Marks words up, or leaves them as they are."""

    color: bool = False

    def verdict(self, words: str, verdict: "Verdict") -> str:
        """Green for good, red for damage, yellow for everything in between."""
        from qcow2_dump.checks.verdict import Verdict

        if verdict is Verdict.GOOD:
            return self._wrap(words, _BOLD, _GREEN)
        damaged = verdict in (Verdict.CORRUPT, Verdict.SNAPSHOT, Verdict.WRONG)
        return self._wrap(words, _BOLD, _RED if damaged else _YELLOW)

    def code(self, words: str, severity: "Severity") -> str:
        """The code of a finding, by its severity."""
        from qcow2_dump.checks.rule import Severity

        if severity is Severity.NOTE:
            return words
        return self._wrap(words, _RED if severity is Severity.CORRUPTION else _YELLOW)

    def strong(self, words: str) -> str:
        """What the reader should not miss."""
        return self._wrap(words, _BOLD)

    def dim(self, words: str) -> str:
        """Details for those who want them."""
        return self._wrap(words, _DIM)

    def painted(self, words: str, *codes: str) -> str:
        """Words in a colour of their own, given as codes of the terminal."""
        return self._wrap(words, *codes)

    def _wrap(self, words: str, *codes: str) -> str:
        return f"\x1b[{';'.join(codes)}m{words}\x1b[0m" if self.color and words else words
