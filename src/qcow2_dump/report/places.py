"""Where findings lie, in words: neighbouring places become one range.

A table with a thousand bad entries in a row is one line, and every line says the three things
that help: which entry, where in the file, and which part of the guest's disk.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

from qcow2_dump.checks.findings import Claimant, Finding
from qcow2_dump.checks.trees import tree_label
from qcow2_dump.image.image import Image
from qcow2_dump.report.escape import one_line, printable, quoted

if TYPE_CHECKING:  # most images have none
    from qcow2_dump.image.tables import SnapshotEntry

__all__ = ["TABLE_NAMES", "Place", "Trees", "claim", "places"]

TABLE_NAMES = {
    "header": "header",
    "l1": "L1 table",
    "l2": "L2 table",
    "refcount_table": "refcount table",
    "refcount_block": "refcount block",
    "snapshot_table": "snapshot table",
    "bitmap_directory": "bitmap directory",
    "bitmap_table": "bitmap table",
    "bitmap_data": "bitmap data",
    "luks": "LUKS header",
}

_OWNERS = TABLE_NAMES | {"data": "data", "compressed": "compressed data"}

_SHOWN_TREES = 4

_TRIAGE = {None: "", "waste": ", waste", "orphan": ", may be guest data"}


class Trees:
    """Gives the trees of an image (``active``, or a snapshot's ID) the names that people know.

    ``entries`` are the snapshots to take them from, by default those of the image.
    """

    def __init__(self, image: Image, entries: "Sequence[SnapshotEntry] | None" = None) -> None:
        self._names: dict[str, str] = {}
        self._positions: dict[str, int] = {}
        for entry in image.snapshot_table.entries if entries is None else entries:
            record = entry.record
            shown = f"snapshot {printable(record.id, 20)}"
            tree = tree_label(record.id)
            self._names.setdefault(tree, f"{shown} {quoted(record.name, 40)}")
            self._positions.setdefault(tree, entry.position)

    def name(self, tree: str) -> str:
        """What one tree is called: ``active``, ``snapshot 1 "monday"``."""
        if tree == "active":
            return tree
        return self._names.get(tree, f"snapshot {printable(tree, 20)}")

    def of_record(self, record_id: bytes) -> str:
        """What the tree of a snapshot record is called."""
        return self.name(tree_label(record_id))

    def names(self, trees: tuple[str, ...], total: int) -> str:
        """Several trees: the first few, and how many more there are."""
        ordered = sorted(trees, key=self._position)
        shown = [self.name(tree) for tree in ordered[:_SHOWN_TREES]]
        more = max(total, len(trees)) - len(shown)
        return ", ".join(shown) + (f" and {more:,} more" if more else "")

    def _position(self, tree: str) -> int:
        """The active tree first, then the snapshots in the order of their table."""
        return -1 if tree == "active" else self._positions.get(tree, len(self._positions))


class Place(NamedTuple):
    """One line of places: what, and which part of the guest's disk, and who reaches it.

    ``findings`` are those that it stands for, in order.
    """

    what: str
    guest: str
    trees: str
    findings: tuple[Finding, ...]


def places(
    findings: Iterable[Finding], trees: Trees, cluster_size: int, *, merge: bool = True
) -> Iterator[Place]:
    """The places of findings of one code; each run of neighbours as one, if ``merge``."""
    run: list[Finding] = []
    for finding in findings:
        if run and not (merge and _neighbours(run[-1], finding)):
            yield _place(run, trees, cluster_size)
            run = []
        run.append(finding)
    if run:
        yield _place(run, trees, cluster_size)


def claim(claimant: Claimant, trees: Trees) -> str:
    """One owner of a cluster: what it is, and where the claim is made."""
    name = _OWNERS.get(claimant.kind) or printable(claimant.kind).replace("_", " ")
    if claimant.kind == "header":
        words = f"{name} (at the start of the file)"
    elif claimant.guest_offset is None:
        words = f"{name} (named at {claimant.offset:#x})"
    else:
        words = f"{name} of guest {claimant.guest_offset:#x} (entry at {claimant.offset:#x})"
    if claimant.trees:
        words += ", " + trees.names(claimant.trees, claimant.trees_total)
    return words


def _neighbours(one: Finding, other: Finding) -> bool:
    """Whether the other finding directly follows the one, so that both fit into one range."""
    alike = (one.table, one.trees, one.settled, one.triage, one.l1_index is None) == (
        other.table,
        other.trees,
        other.settled,
        other.triage,
        other.l1_index is None,
    )
    if not alike:
        return False
    if one.l2_index is not None and other.l2_index is not None:
        return one.l1_index == other.l1_index and other.l2_index == one.l2_index + 1
    if one.l2_index is not None or other.l2_index is not None:
        return False
    if one.l1_index is not None and other.l1_index is not None:
        return other.l1_index == one.l1_index + 1
    if one.cluster is not None and other.cluster is not None:
        same = (one.value, one.expected) == (other.value, other.expected)
        return same and other.cluster == one.cluster + 1 and _guest_goes_on(one, other)
    return False


def _guest_goes_on(one: Finding, other: Finding) -> bool:
    """Whether the guest ranges follow each other as well, or neither place has one."""
    if one.guest_offset is None or other.guest_offset is None:
        return one.guest_offset == other.guest_offset
    return one.guest_offset + (one.guest_length or 0) == other.guest_offset


def _place(run: list[Finding], trees: Trees, cluster_size: int) -> Place:
    first, last = run[0], run[-1]
    return Place(
        what=_what(first, last, cluster_size) + ("" if first.settled else " (unsettled)"),
        guest=_guest(first, last),
        trees=trees.names(first.trees, first.trees_total),
        findings=tuple(run),
    )


def _what(first: Finding, last: Finding, cluster_size: int) -> str:
    kind = first.table.kind if first.table else ""
    if first.table and kind in ("l1", "l2"):
        index = first.l2_index if kind == "l2" else first.l1_index
        end = last.l2_index if kind == "l2" else last.l1_index
        words = f"{TABLE_NAMES[kind]} {first.table.offset:#x}"
        if index is not None and end is not None:
            words += f", {_range('entry', 'entries', index, end)}"
        if first.offset is None or (index is None and first.offset == first.table.offset):
            return words
        return f"{words} (file offset {first.offset:#x})"
    counts_clusters = first.rule.in_clusters
    if counts_clusters and first.cluster is not None and last.cluster is not None:
        words = _range("cluster", "clusters", first.cluster, last.cluster)
        start, end = first.cluster * cluster_size, (last.cluster + 1) * cluster_size
        words += f" (file offset {start:#x}-{end - 1:#x})"
        if first.value is not None and first.expected is not None:
            words += f": refcount {first.value:,}, {_references(first.expected)}"
        return words + _TRIAGE[first.triage]
    at = f" (file offset {first.offset:#x})" if first.offset is not None else ""
    return one_line(first.message.removeprefix(f"{first.rule.headline}: "), 200) + at


def _references(expected: int | str) -> str:
    if isinstance(expected, int):
        return f"{expected:,} reference{'' if expected == 1 else 's'}"
    return f"expected {printable(expected, 40)}"


def _range(one: str, more: str, first: int, last: int) -> str:
    return f"{one} {first:,}" if first == last else f"{more} {first:,}-{last:,}"


def _guest(first: Finding, last: Finding) -> str:
    if first.guest_offset is None:
        return ""
    start, end = first.guest_offset, first.guest_offset + (first.guest_length or 0)
    if last.guest_offset is not None:
        start = min(start, last.guest_offset)
        end = max(end, last.guest_offset + (last.guest_length or 0))
    return f"guest {start:#x}-{end - 1:#x}" if end > start else f"guest {start:#x}"
