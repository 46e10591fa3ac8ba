"""The file as it is filled: users, kind and damage of every cluster, found after a check."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from qcow2_dump.checks.bitset import BitSet
from qcow2_dump.checks.checker import Checker
from qcow2_dump.checks.space.cells import Cells
from qcow2_dump.checks.space.damage import find_damage
from qcow2_dump.checks.space.gathering import Gathering
from qcow2_dump.checks.space.kinds import Kind, kinds_of
from qcow2_dump.checks.space.stretches import Stretches, add_up, cut_where_any_changes
from qcow2_dump.checks.space.use_map import UseMap
from qcow2_dump.checks.space.users import NOBODY
from qcow2_dump.checks.steps import Step

__all__ = ["Survey"]

# Clusters looked at together, a multiple of 8.
_WINDOW = 1 << 20


class Survey:
    """What a finished check, of all trees, and at most one more walk tell of the space in a file.

    ``uses`` holds the users of each cluster, ``payload`` the bytes that compressed streams take,
    ``damaged`` the damaged clusters. They are complete when `run` has ended.
    """

    def __init__(self, checker: Checker) -> None:
        self.facts = checker.facts
        self.leaks = checker.leaks
        self.space = checker.facts.space
        self.damaged = BitSet(self.space.clusters)
        self._gathering = Gathering(checker.facts)

    def run(self) -> Iterator[Step]:
        """Walk the tables. Raises SourceError when they cannot be read."""
        tables = self.facts.tables
        total = int(np.count_nonzero(tables.walked)) * self.space.cluster_size
        for done in self._gathering.run():
            yield Step("space", min(done, total), total)
        for done in find_damage(self.facts, self.leaks.undercounted, self.damaged):
            yield Step("damage", min(done, total), total)

    @property
    def uses(self) -> UseMap:
        """The users of each cluster, by their codes."""
        return self._gathering.uses

    @property
    def payload(self) -> int:
        """What compressed streams take, in bytes: whole sectors."""
        return self._gathering.payload

    def stretches(self) -> Iterator[Stretches]:
        """The clusters of the file from its start to its end, in pieces.

        Where nobody uses any cluster a piece costs next to nothing: there may be thousands of
        these in a file full of holes.
        """
        kinds = kinds_of(self.uses.users)
        for start in range(0, self.space.clusters, _WINDOW):
            end = min(start + _WINDOW, self.space.clusters)
            marked = [marks.any_in(start, end) for marks in (self.leaks.unreferenced, self.damaged)]
            if any(marked) or self.uses.any_in(start, end):
                yield self._cut(start, end, kinds, *marked)
            else:
                yield Stretches.unused(start, end)

    def _cut(
        self, first: int, end: int, kinds: NDArray[np.uint8], leaks: bool, damage: bool
    ) -> Stretches:
        """The stretches of a piece; whether there are ``leaks`` and ``damage`` in it is known."""
        codes = self.uses.codes[first:end]
        columns: list[NDArray[np.unsignedinteger] | NDArray[np.bool_]] = [codes]
        leaked = self.leaks.unreferenced.flags(first, end) if leaks else None
        if leaked is not None:
            columns.append(leaked)
        damaged = self.damaged.flags(first, end) if damage else None
        if damaged is not None:
            columns.append(damaged)
        heads = cut_where_any_changes(columns)
        found = codes[heads]
        of_stretches = kinds[found]
        if leaked is not None:
            of_stretches[leaked[heads] & (found == NOBODY)] = Kind.LEAKED
        hurt = np.zeros(len(heads), dtype=np.bool_) if damaged is None else damaged[heads]
        return Stretches(heads + first, end, found, of_stretches, hurt)

    def host_map(self, number: int) -> Cells:
        """The file from its start to its end in at most ``number`` cells; units are clusters."""
        cells = Cells(self.space.clusters, number, len(Kind))
        for stretches in self.stretches():
            ends = stretches.ends
            cells.add(stretches.start, ends, stretches.kinds)
            cells.mark(stretches.start[stretches.damaged], ends[stretches.damaged])
        return cells

    def bytes_of_kinds(self) -> NDArray[np.int64]:
        """The bytes of the file that are of each kind: int64, by `Kind`."""
        found = np.zeros(len(Kind), dtype=np.int64)
        last = None
        for last in self.stretches():
            add_up(found, last.kinds, last.lengths)
        found <<= self.space.cluster_bits
        if last is not None:
            found[last.kinds[-1]] -= self.space.missing
        return found

    def bytes_in(self, clusters: BitSet) -> int:
        """The bytes of the file in a set of its clusters."""
        last = np.array([self.space.clusters - 1])
        cut = self.space.missing if clusters and clusters.contains(last)[0] else 0
        return (len(clusters) << self.space.cluster_bits) - cut
