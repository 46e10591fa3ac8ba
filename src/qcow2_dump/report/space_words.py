"""What kinds of clusters and parts of a file are called, and how a map shows them.

Each kind has a character as well as a colour, so that a map reads without colour and in print.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from qcow2_dump.checks.space.doubts import Doubt
from qcow2_dump.checks.space.kinds import Kind
from qcow2_dump.checks.space.sums import Part, TreeSums
from qcow2_dump.checks.trees import Tree
from qcow2_dump.image.image import Image
from qcow2_dump.report.escape import printable, quoted
from qcow2_dump.report.fitting import longest_within
from qcow2_dump.report.paper import Paper
from qcow2_dump.report.units import counted, size

if TYPE_CHECKING:  # most images have none
    from qcow2_dump.image.tables import SnapshotEntry

__all__ = [
    "DAMAGED",
    "LOOKS",
    "PART_WORDS",
    "Look",
    "TreeNames",
    "disk_of",
    "doubt_words",
    "of_tree",
]

_UNKNOWN = "-"
# Characters of an ID and of a name in a line of text; what QEMU takes of either.
_ID, _NAME = 20, 40
_WHOLE = 255
# Of several trees so many are named.
_NAMED = 4


class Look(NamedTuple):
    """A kind in a map: its name, its character, that for terminals without Unicode, and its
    colour as the codes of a terminal."""

    words: str
    character: str
    plain: str
    color: tuple[str, ...]


LOOKS = {
    Kind.HEADER: Look("header", "H", "H", ("95",)),
    Kind.SNAPSHOT_TABLE: Look("snapshot table", "S", "S", ("95",)),
    Kind.L1: Look("L1 tables", "1", "1", ("96",)),
    Kind.L2: Look("L2 tables", "2", "2", ("36",)),
    Kind.REFCOUNTS: Look("refcount structures", "R", "R", ("33",)),
    Kind.LUKS: Look("LUKS header", "K", "K", ("95",)),
    Kind.BITMAPS: Look("bitmaps", "B", "B", ("35",)),
    Kind.ACTIVE: Look("data of the active layer", "█", "#", ("32",)),
    Kind.SHARED: Look("data shared with snapshots", "▓", "%", ("34",)),
    Kind.SNAPSHOTS: Look("data only snapshots hold", "▒", "+", ("94",)),
    Kind.STATE: Look("VM state", "V", "V", ("94",)),
    Kind.COMPRESSED: Look("compressed", "≡", "=", ("92",)),
    Kind.LEAKED: Look("leaked", "?", "?", ("1", "93")),
    Kind.FREE: Look("free", "·", ".", ("2",)),
}

DAMAGED = Look("damaged, any of it", "X", "X", ("1", "97", "41"))
"""What is damaged is shown so, whatever kind it is."""

PART_WORDS = {
    Part.HEADER: "header",
    Part.SNAPSHOT_TABLE: "snapshot table",
    Part.L1: "L1 tables",
    Part.L2: "L2 tables",
    Part.REFCOUNTS: "refcount table and blocks",
    Part.LUKS: "LUKS header",
    Part.BITMAPS: "bitmaps",
    Part.ACTIVE: "data only the active layer holds",
    Part.SHARED: "data shared with snapshots",
    Part.SNAPSHOTS: "data only snapshots hold",
    Part.STATE: "VM state of snapshots",
    Part.COMPRESSED: "compressed data",
    Part.SLACK: "unused beside compressed data",
    Part.LEAKED: "leaked",
    Part.FREE: "free inside the file",
    Part.TAIL: "behind the last cluster in use",
}


class TreeNames:
    """What people call the trees at the positions of `trees_of`.

    ``entries`` are the snapshots to take names from, by default those of the image.
    """

    def __init__(self, image: Image, entries: "Sequence[SnapshotEntry] | None" = None) -> None:
        shown = image.snapshot_table.entries if entries is None else entries
        self._records = [entry.record for entry in shown]

    def name(self, tree: int) -> str:
        """``active``, ``1 "monday"``; ``snapshot[0]`` where the record tells neither.

        Long names are cut to what a line of text bears.
        """
        return self._name(tree, _ID, _NAME)

    def on_paper(self, tree: int, paper: Paper, columns: int) -> str:
        """The name in at most so many columns (9 or more); on endless paper all that QEMU takes."""
        if paper.endless:
            return paper.text(self._name(tree, _WHOLE, _WHOLE))
        return longest_within(
            columns, lambda most: paper.text(self._name(tree, min(_ID, most), most)), _WHOLE
        )

    def names(self, trees: tuple[int, ...]) -> str:
        """Several trees: the first few, and how many more there are."""
        return " ".join(_some([self.name(tree) for tree in trees[:_NAMED]], len(trees) - _NAMED))

    def names_on_paper(self, trees: tuple[int, ...], paper: Paper, columns: int) -> list[str]:
        """The same as words to wrap, each name one of them and in at most so many columns."""
        shown = [self.on_paper(tree, paper, columns - 1) for tree in trees[:_NAMED]]
        return _some(shown, len(trees) - _NAMED)

    def _name(self, tree: int, most_of_id: int, most_of_name: int) -> str:
        if tree == 0:
            return "active"
        record = self._records[tree - 1]
        if not record.id and not record.name:
            return f"snapshot[{tree - 1}]"
        return f"{printable(record.id, most_of_id)} {quoted(record.name, most_of_name)}"


def _some(shown: list[str], more: int) -> list[str]:
    """Names with commas between them, and how many more there are."""
    if more > 0:
        return [*(f"{name}," for name in shown[:-1]), shown[-1], f"and {more:,} more"]
    return [*(f"{name}," for name in shown[:-1]), *shown[-1:]]


def disk_of(tree: Tree) -> str:
    """The size of the disk of a tree; ``-`` where its record is lost."""
    return _UNKNOWN if tree.is_blank else size(tree.disk_size)


def of_tree(row: TreeSums, length: int | None) -> str:
    """One of the sums of a tree; ``-`` where there is none, or where it cannot be known."""
    return size(length) if row.known and length is not None else _UNKNOWN


def doubt_words(doubt: Doubt, names: TreeNames) -> str:
    """Why the sums may not be all there is to say, as one line."""
    length = size(doubt.number)
    if doubt.tree is not None:
        whose = names.name(doubt.tree) if doubt.tree else "the active layer"
        return f"the L1 table of {whose} cannot be read: what it leads to is leaked"
    return {
        "damaged": f"the image is damaged in {counted(doubt.number, 'place')}: "
        "sums hold for what can still be reached",
        "snapshot-records": _record_words(doubt),
        "lost": f"{counted(doubt.number, 'pointer leads', 'pointers lead')} past the end of the "
        "file or between clusters: what belongs there is not counted",
        "undercounted": f"{length} have a refcount lower than their references: "
        "what deleting frees there is uncertain, and not counted",
        "overcounted": f"{length} have a refcount higher than their references: "
        "they stay when their last user goes",
        "claimed-twice": f"{length} have owners of different kinds, and are counted as the first",
        "crowded": f"{length} belong to more combinations of snapshots than can be told apart: "
        "referenced and shared are that much too low at most",
        "data-file": "guest data lies in an external data file, and is not counted here",
        "unreadable-tree": "",
    }[doubt.kind]


def _record_words(doubt: Doubt) -> str:
    if doubt.all_of_them:
        what = f"the snapshot table cannot be read ({counted(doubt.number, 'record')})"
        return f"{what}: what snapshots hold is not known, and may be listed as leaked"
    what = counted(doubt.number, "snapshot record")
    return f"{what} cannot be read: what they hold is not known, and may be listed as leaked"
