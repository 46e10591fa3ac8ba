"""What a check knows while it runs; planners read it afterwards, since findings are capped."""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from qcow2_dump.checks.findings import FindingLog
from qcow2_dump.checks.host_space import HostSpace
from qcow2_dump.checks.kept_references import CountedReferences, KeptReferences
from qcow2_dump.checks.mapping.tree_finder import TreeFinder
from qcow2_dump.checks.refcount_map import RefcountMap
from qcow2_dump.checks.result import RefcountStatistics, Statistics, TableStatistics
from qcow2_dump.checks.stored import StoredRefcounts
from qcow2_dump.checks.tables.l1_slots import L1Slots, read_l1_slots
from qcow2_dump.checks.tables.l2_tables import L2Tables, distinct_l2_tables
from qcow2_dump.checks.trees import LISTED_TREES, Tree, trees_of
from qcow2_dump.image.image import Image

__all__ = ["CheckFacts", "Region"]


class Region(NamedTuple):
    """A stretch of the file that holds one metadata structure: offset and length in bytes.

    ``place`` is the file offset of the field that points to it; ``tree`` is the label of the
    tree that it belongs to, if any.
    """

    kind: str
    offset: int
    length: int
    place: int
    tree: str | None = None


@dataclass(slots=True)
class CheckFacts:
    """The state of a check: what was read, counted and found so far.

    ``slots`` and ``tables`` are the L1 entries and the distinct L2 tables of all trees;
    ``regions`` the metadata outside of them. ``references`` counts what refers to each host
    cluster, at least of the window that is being counted, and ``kept`` is what is kept of all
    windows where there are several. ``only_counting`` is True of a walk over what another one has
    judged already. ``last_data`` is the highest host offset of guest data in bytes, -1 for none.
    ``refusals`` says, in words, why qemu-img would not open or not finish checking the image.
    """

    image: Image
    log: FindingLog
    space: HostSpace
    trees: list[Tree]
    slots: L1Slots
    tables: L2Tables
    stored: StoredRefcounts
    references: RefcountMap
    tree_finder: TreeFinder
    regions: list[Region] = field(default_factory=list)
    statistics: Statistics = field(default_factory=Statistics)
    refcounts: RefcountStatistics = field(default_factory=RefcountStatistics)
    refcount_table: TableStatistics = field(default_factory=TableStatistics)
    last_data: int = -1
    inside: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    claimed_blocks: NDArray[np.bool_] = field(default_factory=lambda: np.zeros(0, dtype=np.bool_))
    refusals: list[str] = field(default_factory=list)
    kept: KeptReferences | None = None
    only_counting: bool = False

    @classmethod
    def of(cls, image: Image, log: FindingLog, trees: Iterable[Tree] | None = None) -> "CheckFacts":
        """Read the roots of an image, of some ``trees`` only if they are given.

        Raises SourceError when that fails.
        """
        space = HostSpace.of(image)
        trees = trees_of(image) if trees is None else list(trees)
        slots = read_l1_slots(image.source, trees)
        return cls(
            image=image,
            log=log,
            space=space,
            trees=trees,
            slots=slots,
            tables=distinct_l2_tables(slots, space, image.source),
            stored=StoredRefcounts(image),
            references=RefcountMap(space.clusters + 1),
            tree_finder=TreeFinder(trees),
        )

    @property
    def clusters(self) -> int:
        """Host clusters to compare: those of the file, and one more when something claims it."""
        claimed = self.references.last_claimed
        if self.kept is not None:
            claimed |= self.kept.last_claimed
        return self.space.clusters + int(claimed)

    @property
    def counted(self) -> CountedReferences:
        """The references of all clusters, once everything has been counted."""
        return self.references if self.kept is None else self.kept

    def refuse(self, reason: str) -> None:
        """Note why qemu-img would not open the image, or would not finish."""
        self.refusals.append(reason)

    def recounting(self, bits: int, first: int = 0, end: int | None = None) -> "CheckFacts":
        """The same image, to be counted once more with counters of ``bits`` bits.

        Of the clusters ``first`` to ``end`` only, if these are given. What the first walk found
        out stays where it is: this one is not asked for anything else.
        """
        return replace(
            self,
            log=FindingLog(limit=0),
            tables=self.tables.untouched(),
            references=RefcountMap(self.references.size, bits, first=first, end=end),
            only_counting=True,
            statistics=Statistics(),
            refcounts=RefcountStatistics(),
            refcount_table=TableStatistics(),
            refusals=[],
        )

    def trees_of_slots(self, positions: NDArray[np.int64]) -> tuple[tuple[str, ...], int]:
        """The labels of the first trees that hold some L1 slots, and how many trees do."""
        labels: dict[str, None] = {}
        for place in self.slots.place[positions[:LISTED_TREES]].tolist():
            labels |= dict.fromkeys(self.tree_finder.labels_at(place))
            if len(labels) >= LISTED_TREES:
                break
        return tuple(labels)[:LISTED_TREES], int(self.slots.weight[positions].sum())

    def trees_of_tables(self, tables: NDArray[np.int64]) -> tuple[tuple[str, ...], int]:
        """The labels of the first trees that reach some L2 tables, and how many L1 entries do."""
        labels: dict[str, None] = {}
        for table in tables[:LISTED_TREES].tolist():
            positions = self.tables.slots_of(table)[:LISTED_TREES]
            labels |= dict.fromkeys(self.trees_of_slots(positions)[0])
            if len(labels) >= LISTED_TREES:
                break
        return tuple(labels)[:LISTED_TREES], int(self.tables.weight[tables].sum())

    def trees_of_table(self, table: int) -> tuple[tuple[str, ...], int]:
        """The labels of the first trees that reach an L2 table, and how many L1 entries do."""
        return self.trees_of_tables(np.array([table]))

    def guest_length(self, guest_offset: int, length: int, disk_size: int | None = None) -> int:
        """How many of ``length`` guest bytes from an offset on lie inside the virtual disk."""
        size = self.image.header.size if disk_size is None else disk_size
        return max(0, min(length, size - guest_offset))

    def cluster_indices(self, offsets: NDArray[np.uint64]) -> NDArray[np.int64]:
        """Host cluster indices (int64) of some host offsets (uint64)."""
        return (offsets >> np.uint64(self.space.cluster_bits)).view(np.int64)
