"""A file as one screen of cells: from its start to its end, each as what most of it is.

Damage always shows: a cell with any damage in it is shown as damaged, however much it stands for.
"""

from collections.abc import Iterator
from itertools import groupby

import numpy as np

from qcow2_dump.checks.space.cells import Cells
from qcow2_dump.checks.space.kinds import Kind
from qcow2_dump.checks.space.survey import Survey
from qcow2_dump.report.commands import command, path
from qcow2_dump.report.escape import printable
from qcow2_dump.report.fitting import end_within, width, wrapped
from qcow2_dump.report.paper import Paper
from qcow2_dump.report.space_words import DAMAGED, LOOKS, Look
from qcow2_dump.report.units import share, size

__all__ = ["picture"]

_GAP = "  "
_FEWEST_ROWS = 4
_FEWEST_COLUMNS = 8
# Two lines above the cells, three blank lines, the advice, the prompt.
_OTHER_LINES = 7
# Where columns are this few, they are all cells, and what stands above takes more lines.
_NARROW = 48
_MORE_LINES = 3


def picture(survey: Survey, paper: Paper, lines: int) -> Iterator[str]:
    """The picture of a surveyed file for a terminal of so many lines."""
    image, length = survey.facts.image, survey.space.length
    label = len(f"{length:#x}") + len(_GAP) if paper.columns >= _NARROW else 0
    columns = max(_FEWEST_COLUMNS, paper.columns - label - len(_GAP))
    legend = list(_legend(survey, paper))
    others = len(legend) + _OTHER_LINES + (0 if label else _MORE_LINES)
    rows = max(_FEWEST_ROWS, lines - others)
    cells = survey.host_map(rows * columns)
    yield from _heading(survey, cells, paper)
    yield ""
    looks = _looks(cells)
    for start in range(0, len(cells), columns):
        offset = int(cells.bounds[start]) << survey.space.cluster_bits
        named = paper.style.dim(f"{offset:#x}".rjust(label - len(_GAP)) + _GAP) if label else ""
        yield _GAP + named + _row(looks[start : start + columns], paper)
    yield ""
    yield from legend
    if cells.damaged.any():
        yield ""
        yield f"{_GAP}next: {command('check', path(image.name))}"


def _heading(survey: Survey, cells: Cells, paper: Paper) -> Iterator[str]:
    """What is drawn, and what a character stands for: one line, or several where that is long."""
    name, length = paper.text(printable(survey.facts.image.name)), size(survey.space.length)
    most = int(np.diff(cells.bounds).max()) if len(cells) else 1
    held = size(most << survey.space.cluster_bits)
    stands = f"one cluster ({held})"
    if most > 1:
        stands = f"{held} ({most:,} clusters), shown as what most of it is"
    about = f"a character is {stands}"
    if paper.endless or width(f"{name}: {length}; {about}") <= paper.columns:
        yield f"{paper.style.strong(name)}: {length}; {about}"
        return
    short = end_within(name, paper.columns - len(f": {length}"), paper.text("…"))
    yield f"{paper.style.strong(short)}: {length}"
    yield from wrapped(about, paper.columns, _GAP, _GAP)


def _looks(cells: Cells) -> list[Look]:
    """How each cell is shown: as what most of it is, or as damaged."""
    looks = [LOOKS[Kind(kind)] for kind in cells.shares.argmax(axis=1).tolist()]
    for at in np.flatnonzero(cells.damaged).tolist():
        looks[at] = DAMAGED
    return looks


def _row(looks: list[Look], paper: Paper) -> str:
    """Cells beside each other; neighbours of one look share their colour codes."""
    return "".join(
        paper.style.painted(_character(look, paper) * len(list(same)), *look.color)
        for look, same in groupby(looks)
    )


def _character(look: Look, paper: Paper) -> str:
    return look.character if paper.unicode else look.plain


def _legend(survey: Survey, paper: Paper) -> Iterator[str]:
    """What there is in the file, each with its share in bytes, in as many columns as fit."""
    length, held = survey.space.length, survey.bytes_of_kinds().tolist()
    entries = [(LOOKS[kind], share(held[kind], length)) for kind in Kind if held[kind]]
    if survey.damaged:
        entries.append((DAMAGED, share(survey.bytes_in(survey.damaged), length)))
    words = max(len(look.words) for look, _ in entries)
    column = len("X ") + words + len(_GAP) + max(len(part) for _, part in entries)
    beside = (paper.columns - len(_GAP)) // (column + len(_GAP))
    if len(_GAP) + column > paper.columns:
        yield from _narrow_legend(entries, paper)
        return
    high = -(-len(entries) // max(1, beside))
    for line in range(high):
        parts = []
        for look, part in entries[line::high]:
            mark = paper.style.painted(_character(look, paper), *look.color)
            parts.append(f"{mark} {look.words:<{words}}{part:>{column - words - 2}}")
        yield _GAP + _GAP.join(parts)


def _narrow_legend(entries: list[tuple[Look, str]], paper: Paper) -> Iterator[str]:
    """The same, each in a paragraph of its own."""
    for look, part in entries:
        first, *others = wrapped(f"{look.words} {part}", paper.columns - 2 * len(_GAP))
        yield f"{_GAP}{paper.style.painted(_character(look, paper), *look.color)} {first}"
        yield from (f"{_GAP * 2}{line}" for line in others)
