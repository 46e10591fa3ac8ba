"""The space in the file as the page tells it: by snapshot, and by what it is used for."""

from dataclasses import dataclass
from typing import Any

from qcow2_dump.checks.maps.picture import Picture
from qcow2_dump.checks.space.doubts import Doubt
from qcow2_dump.checks.space.sums import TreeSums
from qcow2_dump.checks.trees import Tree
from qcow2_dump.image.image import Image
from qcow2_dump.report.space_words import PART_WORDS, TreeNames, doubt_words
from qcow2_dump.report.units import counted, size

__all__ = ["SpaceRows", "TreeRow", "space_rows"]

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
class SpaceRows:
    """What the tables and the chart of the section show.

    ``parts`` are those of the file with their share of it; ``sets`` are snapshots that free more
    together than one by one. ``remarks`` say what could not be accounted for, ``held_free`` what
    the file system has set aside for what is free in the image.
    """

    trees: list[TreeRow]
    more_trees: int
    parts: list[tuple[str, str, str]]
    total: tuple[str, str]
    sets: list[tuple[str, str, str]]
    remarks: list[str]
    held_free: str
    chart: dict[str, Any]


def space_rows(picture: Picture, image: Image) -> SpaceRows:
    """The `du` figures of an image."""
    sums, trees = picture.sums, picture.trees
    names = TreeNames(image)
    rows = sorted(sums.trees, key=lambda row: (-row.exclusive, row.tree))
    charted = rows[:_CHARTED]
    return SpaceRows(
        trees=[_tree(row, trees[row.tree], names) for row in rows[:_LISTED]],
        more_trees=max(0, len(rows) - _LISTED),
        parts=[
            (PART_WORDS[part], size(held), _share(held / sums.length))
            for part, held in sums.parts.items()
            if held
        ],
        total=(size(sums.length), f"{sums.length:,} bytes"),
        sets=[
            (names.names(found.trees), size(found.freed), size(found.more))
            for found in sums.sets()[:_SETS]
            if found.more
        ],
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


def _tree(row: TreeSums, tree: Tree, names: TreeNames) -> TreeRow:
    return TreeRow(
        name=names.name(row.tree),
        disk=size(tree.disk_size),
        referenced=size(row.referenced),
        exclusive=size(row.exclusive),
        shared=size(row.shared),
        vm_state=size(row.vm_state) if row.vm_state else "",
        freed="" if row.freed is None else size(row.freed),
    )


def _remarks(doubts: list[Doubt], names: TreeNames) -> list[str]:
    """The first doubts in words, and how many more there are: each snapshot can have one."""
    said = [doubt_words(doubt, names) for doubt in doubts[:_REMARKS]]
    more = len(doubts) - len(said)
    return [*said, f"and {counted(more, 'more doubt')}"] if more else said


def _share(share: float) -> str:
    """A share of the file, never rounded to nothing."""
    return "under 0.1%" if share < 0.001 else f"{share:.1%}"
