"""Tables for a terminal: a name, numbers, and a bar in what columns are left.

Where there is no room for all of it, the numbers that matter least are left out, then the bar.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from qcow2_dump.report.fitting import padded, width
from qcow2_dump.report.paper import Paper

__all__ = ["GAP", "Column", "Layout", "laid_out"]

GAP = "  "
_SHORTEST_BAR = 5
_USUAL_BAR = 10


class Column(NamedTuple):
    """Numbers below each other, aligned to the right; ``heading`` is one line or two.

    Where there is too little room, those that ``goes`` numbers are left out in that order.
    """

    heading: str
    cells: Sequence[str]
    goes: int | None = None

    @property
    def width(self) -> int:
        """Columns of the terminal that it takes."""
        return max(width(text) for text in (*self.heading.split("\n"), *self.cells))


@dataclass(frozen=True, slots=True)
class Layout:
    """What is shown of a table: columns of text for the name, numbers, columns for the bar.

    Without any for the name, a line begins with the numbers. ``left_out`` names the columns for
    which there is no room.
    """

    name: int
    columns: tuple[Column, ...]
    bar: int
    left_out: tuple[str, ...] = ()

    def headings(self, name: str) -> list[str]:
        """The heading, as many lines as that of its columns."""
        over = [column.heading.split("\n") for column in self.columns]
        high = max(map(len, over))
        rows = [[""] * (high - len(lines)) + lines for lines in over]
        names = [""] * (high - 1) + [name]
        return [self._line(names[at], [row[at] for row in rows]) for at in range(high)]

    def line(self, name: str, row: int) -> str:
        """A row of numbers with its name; there are ``bar`` columns left behind it."""
        return self._line(name, [column.cells[row] for column in self.columns])

    def _line(self, name: str, cells: list[str]) -> str:
        texts = [padded(name, self.name)] if self.name else []
        for column, cell in zip(self.columns, cells, strict=True):
            texts.append(padded(cell, column.width, right=True))
        return (GAP + GAP.join(texts)).rstrip()


def laid_out(paper: Paper, names: tuple[int, int], columns: Sequence[Column]) -> Layout | None:
    """What of a table fits, None where it is not even the name and what must not be left out.

    ``names`` are the columns of text that the names need at least, and at most.
    """
    least, most = names
    if paper.endless:
        left = paper.columns - most - sum(len(GAP) + column.width for column in columns)
        return Layout(most, tuple(columns), max(_USUAL_BAR, left - 2 * len(GAP)))
    for shortest in (_SHORTEST_BAR, 0):
        bar = len(GAP) + shortest if shortest else 0
        for shown in _fewer_and_fewer(columns):
            left = paper.columns - len(GAP) - sum(len(GAP) + column.width for column in shown)
            if left < least + bar:
                continue
            name = min(most, left - bar)
            if shortest and name < most:  # cut anyway: then the bar gets what it needs
                name = max(least, left - len(GAP) - _USUAL_BAR)
            gone = tuple(c.heading.replace("\n", " ") for c in columns if c not in shown)
            return Layout(name, shown, left - name - len(GAP) if shortest else 0, gone)
    return None


def _fewer_and_fewer(columns: Sequence[Column]) -> list[tuple[Column, ...]]:
    """All columns, then without the first that goes, and so on."""
    goes = sorted(column.goes for column in columns if column.goes is not None)
    return [tuple(c for c in columns if c.goes is None or c.goes > gone) for gone in (-1, *goes)]
