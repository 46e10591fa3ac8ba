"""What a check knows while it runs; planners read it afterwards, since findings are capped."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from qcow2_dump.checks.findings import FindingLog
from qcow2_dump.checks.host_space import HostSpace
from qcow2_dump.checks.l1_slots import L1Slots, read_l1_slots
from qcow2_dump.checks.l2_tables import L2Tables, distinct_l2_tables
from qcow2_dump.checks.refcount_map import RefcountMap
from qcow2_dump.checks.result import RefcountStatistics, Statistics, TableStatistics
from qcow2_dump.checks.stored import StoredRefcounts
from qcow2_dump.checks.trees import Tree, trees_of
from qcow2_dump.image.image import Image

__all__ = ["LISTED_TREES", "CheckFacts", "Region"]

LISTED_TREES = 16
"""How many of the trees that reach a place a finding names."""


@dataclass(frozen=True, slots=True)
class Region:
    """A stretch of the file that holds one metadata structure: offset and length in bytes.

    ``place`` is the file offset of the field that points to it; ``tree`` is the label of the
    tree that it belongs to, if any.
    """

    kind: str
    offset: int
    length: int
    place: int
    tree: str | None = None


@dataclass
class CheckFacts:
    """The state of a check: what was read, counted and found so far.

    ``slots`` and ``tables`` are the L1 entries and the distinct L2 tables of all trees;
    ``regions`` the metadata outside of them. ``references`` counts what refers to each host
    cluster. ``last_data`` is the highest host offset of guest data in bytes, -1 for none.
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
    regions: list[Region] = field(default_factory=list)
    statistics: Statistics = field(default_factory=Statistics)
    refcounts: RefcountStatistics = field(default_factory=RefcountStatistics)
    refcount_table: TableStatistics = field(default_factory=TableStatistics)
    last_data: int = -1
    inside: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    claimed_blocks: NDArray[np.bool_] = field(default_factory=lambda: np.zeros(0, dtype=np.bool_))
    refusals: list[str] = field(default_factory=list)

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
            tables=distinct_l2_tables(slots, space),
            stored=StoredRefcounts(image),
            references=RefcountMap(space.clusters + 1),
        )

    @property
    def clusters(self) -> int:
        """Host clusters to compare: those of the file, and one more when something claims it."""
        return self.space.clusters + int(self.references.counts[-1] != 0)

    def refuse(self, reason: str) -> None:
        """Note why qemu-img would not open the image, or would not finish."""
        self.refusals.append(reason)

    def trees_of_slots(self, positions: Iterable[int]) -> tuple[tuple[str, ...], int]:
        """The labels of the first trees that hold some L1 slots, and how many trees do."""
        labels: dict[str, None] = {}
        total = 0
        for position in positions:
            weight = int(self.slots.weight[position])
            total += weight
            if len(labels) < LISTED_TREES:
                labels |= dict.fromkeys(self._labels_at(int(self.slots.place[position])))
        return tuple(labels)[:LISTED_TREES], total

    def trees_of_table(self, table: int) -> tuple[tuple[str, ...], int]:
        """The labels of the first trees that reach an L2 table, and how many L1 entries do."""
        positions = self.tables.slots_of(table)
        labels, _ = self.trees_of_slots(positions[:LISTED_TREES].tolist())
        return labels, int(self.tables.weight[table])

    def guest_length(self, guest_offset: int, length: int, disk_size: int | None = None) -> int:
        """How many of ``length`` guest bytes from an offset on lie inside the virtual disk."""
        size = self.image.header.size if disk_size is None else disk_size
        return max(0, min(length, size - guest_offset))

    def cluster_indices(self, offsets: NDArray[np.uint64]) -> NDArray[np.int64]:
        """Host cluster indices (int64) of some host offsets (uint64)."""
        return (offsets >> np.uint64(self.space.cluster_bits)).view(np.int64)

    def _labels_at(self, place: int) -> list[str]:
        start, end = self._l1_bounds
        found = np.flatnonzero((start <= place) & (place < end))[:LISTED_TREES]
        return [self.trees[i].label for i in found.tolist()]

    @cached_property
    def _l1_bounds(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Where the L1 table of each tree starts and ends, in bytes; empty if unusable."""
        bounds = [(t.l1_offset, t.l1_end) if t.usable else (0, 0) for t in self.trees]
        start, end = np.array(bounds, dtype=np.int64).T
        return start, end
