"""The space in the file as the page tells it: by snapshot, and by what it is used for."""

from dataclasses import dataclass
from typing import Any

from qcow2_dump.checks.maps.picture import Picture
from qcow2_dump.checks.space.sums import Part, SpaceSums, TreeSums
from qcow2_dump.checks.trees import Tree
from qcow2_dump.image.image import Image
from qcow2_dump.report.places import Trees
from qcow2_dump.report.units import size

__all__ = ["SpaceRows", "TreeRow", "space_rows"]

_CHARTED = 20
_LISTED = 200
_SETS = 10

_PARTS = {
    Part.HEADER: "header",
    Part.SNAPSHOT_TABLE: "snapshot table",
    Part.L1: "L1 tables",
    Part.L2: "L2 tables",
    Part.REFCOUNTS: "refcount structures",
    Part.LUKS: "LUKS header",
    Part.BITMAPS: "bitmaps",
    Part.ACTIVE: "data of the active layer",
    Part.SHARED: "data shared with snapshots",
    Part.SNAPSHOTS: "data only snapshots hold",
    Part.STATE: "VM state",
    Part.COMPRESSED: "compressed data",
    Part.SLACK: "slack of compressed data",
    Part.LEAKED: "leaked",
    Part.FREE: "free inside the file",
    Part.TAIL: "tail beyond the last used cluster",
}


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
    together than one by one. ``remarks`` say what could not be accounted for.
    """

    trees: list[TreeRow]
    more_trees: int
    parts: list[tuple[str, str, str]]
    total: tuple[str, str]
    sets: list[tuple[str, str, str]]
    remarks: list[str]
    chart: dict[str, Any]


def space_rows(picture: Picture, image: Image) -> SpaceRows:
    """The `du` figures of an image."""
    sums, trees = picture.sums, picture.trees
    names = Trees(image)
    rows = sorted(sums.trees, key=lambda row: (-row.exclusive, row.tree))
    charted = rows[:_CHARTED]
    return SpaceRows(
        trees=[_tree(row, trees[row.tree], names) for row in rows[:_LISTED]],
        more_trees=max(0, len(rows) - _LISTED),
        parts=[
            (_PARTS[part], size(held), f"{held / sums.length:.1%}")
            for part, held in sums.parts.items()
            if held
        ],
        total=(size(sums.length), f"{sums.length:,} bytes"),
        sets=[
            (_set(found.trees, trees, names), size(found.freed), size(found.more))
            for found in sums.sets()[:_SETS]
            if found.more
        ],
        remarks=list(_remarks(sums)),
        chart={
            "labels": [names.name(trees[row.tree].label)[:60] for row in charted],
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


def _tree(row: TreeSums, tree: Tree, names: Trees) -> TreeRow:
    return TreeRow(
        name=names.name(tree.label) if row.tree else "active layer",
        disk=size(tree.disk_size),
        referenced=size(row.referenced),
        exclusive=size(row.exclusive),
        shared=size(row.shared),
        vm_state=size(row.vm_state) if row.vm_state else "",
        freed="" if row.freed is None else size(row.freed),
    )


def _set(members: tuple[int, ...], trees: list[Tree], names: Trees) -> str:
    shown = [names.name(trees[tree].label) for tree in members[:4]]
    more = len(members) - len(shown)
    return ", ".join(shown) + (f" and {more} more" if more else "")


def _remarks(sums: SpaceSums) -> list[str]:
    said = []
    if sums.allocated_free:
        said.append(f"The file system holds {size(sums.allocated_free)} for what is free.")
    if sums.claimed_twice:
        said.append(f"{size(sums.claimed_twice)} are metadata and something else at once.")
    if sums.undercounted or sums.overcounted:
        wrong = sums.undercounted + sums.overcounted
        said.append(f"The refcounts of {size(wrong)} are wrong: they may not be freed as told.")
    if sums.crowded:
        said.append(f"{size(sums.crowded)} belong to too many snapshots to be told apart.")
    return said
