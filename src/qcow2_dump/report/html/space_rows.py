"""The space in the file as the page tells it: by snapshot, and by what it is used for."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from qcow2_dump.checks.maps.picture import Picture
from qcow2_dump.checks.space.doubts import Doubt
from qcow2_dump.checks.space.kinds import Kind
from qcow2_dump.checks.space.sums import Part, TreeSums
from qcow2_dump.checks.trees import Tree
from qcow2_dump.image.image import Image
from qcow2_dump.image.tables import SnapshotEntry
from qcow2_dump.report.html.withheld import unusable
from qcow2_dump.report.space_words import PART_WORDS, TreeNames, disk_of, doubt_words, of_tree
from qcow2_dump.report.units import counted, share, size

__all__ = ["PartRow", "SpaceRows", "TreeRow", "space_rows"]

_CHARTED = 20
_LISTED = 200
_SETS = 10
_REMARKS = 20


@dataclass(frozen=True, slots=True)
class TreeRow:
    """The active layer or a snapshot: sizes for people, biggest of its own first."""

    name: str
    disk: str
    referenced: str
    exclusive: str
    shared: str
    vm_state: str
    freed: str


@dataclass(frozen=True, slots=True)
class PartRow:
    """A part of the file: its class on the map, its share, its bar in percent of the longest."""

    name: str
    look: str
    held: str
    share: str
    bar: float


@dataclass(frozen=True, slots=True)
class SpaceRows:
    """What the tables and the chart of the section show.

    ``states`` says whether any snapshot has VM state. ``parts`` are those of the file, biggest
    first; ``sets`` are snapshots that free more
    together than one by one. What begins with ``more_`` says what is left out, empty where
    nothing is. ``remarks`` say what could not be accounted for, ``held_free`` what
    the file system has set aside for what is free in the image.
    """

    trees: list[TreeRow]
    more_trees: str
    more_charted: str
    states: bool
    parts: list[PartRow]
    total: tuple[str, str]
    sets: list[tuple[str, str, str]]
    more_sets: str
    remarks: list[str]
    held_free: str
    chart: dict[str, Any]


def space_rows(picture: Picture, image: Image, entries: Sequence[SnapshotEntry]) -> SpaceRows:
    """The `du` figures of an image; ``entries`` are those of `withheld.shown_entries`."""
    sums, trees = picture.sums, picture.trees
    names = TreeNames(image, entries)
    lost = unusable(image, entries)
    rows = sorted(sums.trees, key=lambda row: (-row.exclusive, row.tree))
    charted, listed = _with_active(rows, _CHARTED), _with_active(rows, _LISTED)
    sets = [found for found in sums.sets() if found.more]
    parts = sorted(sums.parts.items(), key=lambda row: -row[1])
    return SpaceRows(
        trees=[_tree(row, trees[row.tree], names, row.tree - 1 in lost) for row in listed],
        more_trees=_left_out(len(rows) - len(listed), "snapshot"),
        more_charted=_left_out(len(rows) - len(charted), "snapshot"),
        states=any(row.vm_state for row in rows),
        parts=[_part(part, held, parts[0][1], sums.length) for part, held in parts if held],
        total=(size(sums.length), f"{sums.length:,} bytes"),
        sets=[
            (names.names(found.trees), size(found.freed), size(found.more))
            for found in sets[:_SETS]
        ],
        more_sets=_left_out(len(sets) - _SETS, "set"),
        remarks=_remarks(picture.doubts, names),
        held_free=size(sums.allocated_free) if sums.allocated_free else "",
        chart={
            "labels": [names.name(row.tree)[:60] for row in charted],
            "parts": [
                {
                    "id": "active",
                    "label": "held by it alone",
                    "bytes": [row.exclusive for row in charted],
                },
                {
                    "id": "shared",
                    "label": "shared with others",
                    "bytes": [row.shared for row in charted],
                },
            ],
        },
    )


def _with_active(rows: list[TreeSums], most: int) -> list[TreeSums]:
    """The first rows; that of the active layer is one of them, wherever it stands."""
    active = next(at for at, row in enumerate(rows) if row.tree == 0)
    return rows[:most] if active < most else [*rows[: most - 1], rows[active]]


def _left_out(more: int, what: str) -> str:
    return counted(more, f"more {what}") if more > 0 else ""


def _tree(row: TreeSums, tree: Tree, names: TreeNames, is_lost: bool) -> TreeRow:
    return TreeRow(
        name=names.name(row.tree),
        disk="-" if is_lost else disk_of(tree),
        referenced=of_tree(row, row.referenced),
        exclusive=of_tree(row, row.exclusive),
        shared=of_tree(row, row.shared),
        vm_state=of_tree(row, row.vm_state),
        freed=of_tree(row, row.freed),
    )


def _part(part: Part, held: int, most: int, length: int) -> PartRow:
    other = {Part.SLACK: "compressed", Part.TAIL: "free"}
    look = other.get(part) or Kind[part.name].name.lower().replace("_", "-")
    return PartRow(PART_WORDS[part], look, size(held), share(held, length), 100 * held / most)


def _remarks(doubts: list[Doubt], names: TreeNames) -> list[str]:
    """The first doubts in words, and how many more there are: each snapshot can have one."""
    said = [doubt_words(doubt, names) for doubt in doubts[:_REMARKS]]
    more = len(doubts) - len(said)
    return [*said, f"and {counted(more, 'more doubt')}"] if more else said
