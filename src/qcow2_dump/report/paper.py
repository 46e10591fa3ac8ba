"""What a report with bars or pictures is written on."""

from dataclasses import dataclass

from qcow2_dump.report.style import Style

__all__ = ["Paper"]


_NO_COLOR = Style()


@dataclass(frozen=True, slots=True)
class Paper:
    """So many columns, with or without Unicode, and a style.

    ``endless`` paper is no screen but a file or a pipe: nothing is cut or left out to fit its
    columns, which then only say how wide it may be without need.
    """

    columns: int = 80
    unicode: bool = True
    style: Style = _NO_COLOR
    endless: bool = False

    def text(self, words: str) -> str:
        """Words in the characters that there are: others become escapes."""
        if self.unicode:
            return words
        return words.replace("…", "...").encode("ascii", "backslashreplace").decode("ascii")
