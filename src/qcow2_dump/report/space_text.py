"""What fills a file, for people: its parts, its trees, and what deleting snapshots frees."""

from collections.abc import Iterator, Sequence

from qcow2_dump.checks.space.kinds import Kind
from qcow2_dump.checks.space.measured import Measured
from qcow2_dump.checks.space.sums import Part, SnapshotSet, TreeSums
from qcow2_dump.image.image import Image
from qcow2_dump.report.bar_table import GAP, Column, Layout, laid_out
from qcow2_dump.report.bars import bar
from qcow2_dump.report.commands import command, path
from qcow2_dump.report.escape import printable
from qcow2_dump.report.fitting import end_within, padded, width, wrapped
from qcow2_dump.report.paper import Paper
from qcow2_dump.report.space_words import (
    LOOKS,
    PART_WORDS,
    TreeNames,
    disk_of,
    doubt_words,
    of_tree,
)
from qcow2_dump.report.units import share, size

__all__ = ["space_text"]

_SHOWN_TREES = 1000
_SHOWN_DOUBTS = 20
# Names of trees are cut to no less than that; where several have less room, they go below.
_SHORTEST_NAME = 16
_ROOM_FOR_NAMES = 28


def space_text(measured: Measured, image: Image, paper: Paper) -> Iterator[str]:
    """The lines of the report on an image: none is wider than the paper, but for a command."""
    names = TreeNames(image)
    yield from _file(measured, image, paper)
    yield ""
    yield from _parts(measured, paper)
    yield ""
    yield from _trees(measured, names, paper)
    if measured.sets is not None:
        yield ""
        yield from _sets(measured.sets, names, paper)
    if measured.without is not None:
        yield ""
        yield from _set(measured.without, names, paper)
    if measured.doubts:
        yield ""
        for doubt in measured.doubts[:_SHOWN_DOUBTS]:
            words = f"note: {paper.text(doubt_words(doubt, names))}"
            yield from wrapped(words, paper.columns, GAP, GAP * 2)
        if len(measured.doubts) > _SHOWN_DOUBTS:
            more = f"and {len(measured.doubts) - _SHOWN_DOUBTS:,} more notes, which --json lists"
            yield from wrapped(more, paper.columns, GAP, GAP * 2)
    if any(doubt.kind == "damaged" for doubt in measured.doubts):
        yield ""
        yield f"  next: {command('check', path(image.name))}"


def _file(measured: Measured, image: Image, paper: Paper) -> Iterator[str]:
    """The file and its size: on one line, or on several where that is too long."""
    name, allocated = paper.text(printable(image.name)), measured.allocated
    on_disk = "" if allocated is None else f", {size(allocated)} on disk"
    about = f"a file of {size(measured.sums.length)}{on_disk}"
    if paper.endless or width(f"{name}: {about}") <= paper.columns:
        yield f"{paper.style.strong(name)}: {about}"
        return
    yield f"{paper.style.strong(end_within(name, paper.columns - 1, paper.text('…')))}:"
    yield from wrapped(about, paper.columns, GAP, GAP)


def _parts(measured: Measured, paper: Paper) -> Iterator[str]:
    sums = measured.sums
    rows = sorted(sums.parts.items(), key=lambda row: -row[1])
    used = [(part, length) for part, length in rows if length]
    cells = [(PART_WORDS[part], length, share(length, sums.length)) for part, length in used]
    cells.append(("the whole file", sums.length, ""))
    if sums.allocated_free:
        cells.append(("free, but kept on disk", sums.allocated_free, ""))
    names, lengths, shares = zip(*cells, strict=True)
    columns = [
        Column("bytes", [f"{length:,}" for length in lengths], goes=1),
        Column("", [size(length) for length in lengths]),
        Column("share", shares, goes=2),
    ]
    longest = max(map(width, names))
    layout = laid_out(paper, (longest, longest), columns)
    most = max((length for _, length in used), default=0)
    if layout is None:
        for name, length, part in cells:
            yield from wrapped(name, paper.columns, GAP, GAP)
            figures = f"{size(length)}{GAP}{part:>7}"
            yield padded(figures, min(paper.columns, 24), right=True).rstrip()
        return
    yield from map(paper.style.dim, layout.headings("what fills the file"))
    for row, (part, length) in enumerate(used):
        line = layout.line(names[row], row)
        yield _with_bar(line, length, most, layout.bar, _color(part), paper)
    for row in range(len(used), len(cells)):
        yield paper.style.dim(layout.line(names[row], row))
    yield from _left_out(layout, paper)


def _color(part: Part) -> tuple[str, ...]:
    other = {Part.SLACK: Kind.COMPRESSED, Part.TAIL: Kind.FREE}
    return LOOKS[other.get(part) or Kind[part.name]].color


def _trees(measured: Measured, names: TreeNames, paper: Paper) -> Iterator[str]:
    rows = sorted(measured.sums.trees, key=lambda row: (-row.exclusive, row.tree))
    shown = rows[:_SHOWN_TREES]
    columns = _tree_columns(shown, measured)
    longest = max(width(names.on_paper(row.tree, paper, paper.columns)) for row in shown)
    layout = laid_out(paper, (min(_SHORTEST_NAME, longest), longest), columns)
    if layout is None:
        yield from _stacked_trees(shown, columns, names, paper)
    else:
        yield from map(paper.style.dim, layout.headings(""))
        most = max(row.exclusive for row in rows)
        for at, row in enumerate(shown):
            line = layout.line(names.on_paper(row.tree, paper, layout.name), at)
            color = LOOKS[Kind.SNAPSHOTS if row.tree else Kind.ACTIVE].color
            yield _with_bar(line, row.exclusive, most, layout.bar, color, paper)
        yield from _left_out(layout, paper)
    if len(rows) > len(shown):
        words = f"and {len(rows) - len(shown):,} more, which --json and --csv list"
        yield from wrapped(words, paper.columns, GAP, GAP)


def _left_out(layout: Layout, paper: Paper) -> Iterator[str]:
    """Which columns there was no room for."""
    if layout.left_out:
        words = f"left out for want of room: {', '.join(layout.left_out)}; --json has all"
        yield from map(paper.style.dim, wrapped(words, paper.columns, GAP, GAP * 2))


def _tree_columns(rows: Sequence[TreeSums], measured: Measured) -> list[Column]:
    disks = [disk_of(measured.trees[row.tree]) for row in rows]
    columns = [
        Column("virtual\nsize", disks, goes=1),
        Column("referenced", [of_tree(row, row.referenced) for row in rows], goes=2),
        Column("shared", [of_tree(row, row.shared) for row in rows], goes=4),
        Column("exclusive", [of_tree(row, row.exclusive) for row in rows]),
        Column("freed if\ndeleted", [of_tree(row, row.freed) for row in rows]),
    ]
    if any(row.vm_state for row in rows):
        state = [of_tree(row, row.vm_state) for row in rows]
        columns.insert(4, Column("VM\nstate", state, goes=3))
    return columns


def _stacked_trees(
    rows: Sequence[TreeSums], columns: Sequence[Column], names: TreeNames, paper: Paper
) -> Iterator[str]:
    """A record for each tree, a number a line."""
    labels = [column.heading.replace("\n", " ") for column in columns]
    longest = max(map(width, labels))
    widest = max(width(cell) for column in columns for cell in column.cells)
    for at, row in enumerate(rows):
        yield GAP + names.on_paper(row.tree, paper, paper.columns - len(GAP))
        for label, column in zip(labels, columns, strict=True):
            cell = padded(column.cells[at], widest, right=True)
            if len(GAP) * 2 + longest + 1 + widest <= paper.columns:
                yield f"{GAP * 2}{padded(label, longest)} {cell}"
            else:
                yield GAP * 2 + label
                yield padded(cell, paper.columns, right=True)


def _sets(sets: Sequence[SnapshotSet], names: TreeNames, paper: Paper) -> Iterator[str]:
    if not sets:
        words = "no set of snapshots frees more together than one by one"
        yield from wrapped(words, paper.columns, GAP, GAP)
        return
    columns = [
        Column("freed", [size(found.freed) for found in sets]),
        Column("only together", [size(found.more) if found.more else "-" for found in sets]),
    ]
    layout = Layout(0, tuple(columns), 0)
    room = paper.columns - width(layout.headings("")[0]) - len(GAP)
    if not paper.endless and room < _ROOM_FOR_NAMES:
        for found in sets:
            yield from _set(found, names, paper)
        return
    yield paper.style.dim(f"{layout.headings('')[0]}{GAP}deleting")
    for row, found in enumerate(sets):
        named = names.names_on_paper(found.trees, paper, room)
        line = layout.line("", row) + GAP
        if paper.endless:
            yield line + " ".join(named)
        else:
            yield from wrapped(named, paper.columns, line, " " * len(line))


def _set(found: SnapshotSet, names: TreeNames, paper: Paper) -> Iterator[str]:
    """What some snapshots free, in words."""
    room = paper.columns - 2 * len(GAP)
    named = ["deleting", *names.names_on_paper(found.trees, paper, room - 1)]
    named[-1] += ":"
    more = f", {size(found.more)} of it only together" if found.more else ""
    frees = f"frees {found.freed:,} bytes ({size(found.freed)}){more}"
    if paper.endless:
        yield from (GAP + " ".join(named), GAP + frees)
        return
    yield from wrapped(named, paper.columns, GAP, GAP * 2)
    yield from wrapped(frees, paper.columns, GAP, GAP * 2)


def _with_bar(
    line: str, value: int, most: int, columns: int, color: tuple[str, ...], paper: Paper
) -> str:
    """A line and a bar behind it; all bars of a table begin at one place."""
    strip = bar(value, most, columns, unicode=paper.unicode)
    return f"{line}{GAP}{paper.style.painted(strip, *color)}" if strip else line
