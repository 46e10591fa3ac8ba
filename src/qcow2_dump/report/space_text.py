"""What fills a file, for people: its parts, its trees, and what deleting snapshots frees."""

from collections.abc import Iterator, Sequence
from textwrap import wrap

from qcow2_dump.checks.space.kinds import Kind
from qcow2_dump.checks.space.measured import Measured
from qcow2_dump.checks.space.sums import Part, SnapshotSet, TreeSums
from qcow2_dump.image.image import Image
from qcow2_dump.report.bars import bar
from qcow2_dump.report.commands import command, path
from qcow2_dump.report.escape import printable
from qcow2_dump.report.paper import Paper
from qcow2_dump.report.space_words import LOOKS, PART_WORDS, TreeNames, doubt_words
from qcow2_dump.report.style import Style
from qcow2_dump.report.units import share, size

__all__ = ["space_text"]

_FEWEST_COLUMNS = 6
_SHOWN_TREES = 1000
_NARROWEST = 40
_GAP = "  "


def space_text(measured: Measured, image: Image, paper: Paper) -> Iterator[str]:
    """The lines of the report on an image."""
    names = TreeNames(image)
    sums, style = measured.sums, paper.style
    allocated = measured.allocated
    on_disk = "" if allocated is None else f", {size(allocated)} on disk"
    yield f"{style.strong(printable(image.name))}: a file of {size(sums.length)}{on_disk}"
    yield ""
    yield from _parts(measured, paper)
    yield ""
    yield from _trees(measured, names, paper)
    if measured.sets is not None:
        yield ""
        yield from _sets(measured.sets, names, paper)
    if measured.without is not None:
        yield ""
        yield from _without(measured.without, names)
    if measured.doubts:
        yield ""
        for doubt in measured.doubts:
            yield from wrap(
                f"note: {doubt_words(doubt, names)}",
                max(_NARROWEST, paper.columns),
                initial_indent=_GAP,
                subsequent_indent=_GAP * 2,
                break_on_hyphens=False,
            )
    if any(doubt.kind == "damaged" for doubt in measured.doubts):
        yield ""
        yield f"  next: {command('check', path(image.name))}"


def _parts(measured: Measured, paper: Paper) -> Iterator[str]:
    sums, style = measured.sums, paper.style
    rows = sorted(sums.parts.items(), key=lambda row: -row[1])
    used = [(part, length) for part, length in rows if length]
    cells = [
        [PART_WORDS[part], f"{length:,}", size(length), share(length, sums.length)]
        for part, length in used
    ]
    cells.append(["the whole file", f"{sums.length:,}", size(sums.length), ""])
    held = sums.allocated_free
    if held:
        cells.append(["free, but kept on disk by the file system", f"{held:,}", size(held), ""])
    heading = ["what fills the file", "bytes", "", "share"]
    lines, left = _table([heading, *cells], paper.columns)
    yield style.dim(lines[0])
    most = max((length for _, length in used), default=0)
    for line, (part, length) in zip(lines[1:], used, strict=False):
        yield _with_bar(line, bar(length, most, left, unicode=paper.unicode), _color(part), style)
    yield from (style.dim(line) for line in lines[1 + len(used) :])


def _color(part: Part) -> tuple[str, ...]:
    other = {Part.SLACK: Kind.COMPRESSED, Part.TAIL: Kind.FREE}
    return LOOKS[other.get(part) or Kind[part.name]].color


def _trees(measured: Measured, names: TreeNames, paper: Paper) -> Iterator[str]:
    rows = sorted(measured.sums.trees, key=lambda row: (-row.exclusive, row.tree))
    shown = rows[:_SHOWN_TREES]
    state = any(row.vm_state for row in rows)
    heading = ["", "virtual size", "referenced", "shared", "exclusive", "freed if deleted"]
    if state:
        heading.insert(5, "VM state")
    cells = [_tree_cells(row, measured, names, state=state) for row in shown]
    lines, left = _table([heading, *cells], paper.columns)
    yield paper.style.dim(lines[0])
    most = max(row.exclusive for row in rows)
    for line, row in zip(lines[1:], shown, strict=True):
        strip = bar(row.exclusive, most, left, unicode=paper.unicode)
        yield _with_bar(
            line, strip, LOOKS[Kind.SNAPSHOTS if row.tree else Kind.ACTIVE].color, paper.style
        )
    if len(rows) > len(shown):
        yield f"  and {len(rows) - len(shown):,} more, which --json and --csv list"


def _tree_cells(row: TreeSums, measured: Measured, names: TreeNames, *, state: bool) -> list[str]:
    tree = measured.trees[row.tree]
    cells = [
        names.name(row.tree),
        size(tree.disk_size),
        size(row.referenced),
        size(row.shared),
        size(row.exclusive),
    ]
    if state:
        cells.append(size(row.vm_state))
    return [*cells, "-" if row.freed is None else size(row.freed)]


def _sets(sets: Sequence[SnapshotSet], names: TreeNames, paper: Paper) -> Iterator[str]:
    if not sets:
        yield "  no set of snapshots frees more together than one by one"
        return
    cells = [[size(s.freed), size(s.more) if s.more else "-", names.names(s.trees)] for s in sets]
    lines, _ = _table([["freed", "only together", "deleting"], *cells], paper.columns, names=2)
    yield paper.style.dim(lines[0])
    yield from lines[1:]


def _without(found: SnapshotSet, names: TreeNames) -> Iterator[str]:
    more = f", {size(found.more)} of it only together" if found.more else ""
    yield f"  deleting {names.names(found.trees)}:"
    yield f"  frees {found.freed:,} bytes ({size(found.freed)}){more}"


def _table(rows: list[list[str]], columns: int, names: int = 0) -> tuple[list[str], int]:
    """Rows as lines, the column ``names`` to the left and the others to the right; the columns
    of the terminal that are left for a bar."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        cells = [
            cell.ljust(width) if at == names else cell.rjust(width)
            for at, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append(_GAP + _GAP.join(cells).rstrip())
    left = columns - sum(widths) - len(_GAP) * (len(widths) + 1)
    return lines, left if left >= _FEWEST_COLUMNS else 0


def _with_bar(line: str, strip: str, color: tuple[str, ...], style: Style) -> str:
    return f"{line}{_GAP}{style.painted(strip, *color)}" if strip else line
