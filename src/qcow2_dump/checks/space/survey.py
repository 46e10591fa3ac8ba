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
from qcow2_dump.checks.space.use_map import UseMap
from qcow2_dump.checks.space.users import NOBODY
from qcow2_dump.checks.steps import Step

__all__ = ["Survey"]

# Clusters looked at together, a multiple of 8.
_WINDOW = 1 << 20


class Survey:
    """What a finished check, of all trees, and one more walk tell of the space in a file.

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

    def windows(self) -> Iterator[tuple[int, int, NDArray[np.uint8] | None]]:
        """The kind of each cluster of the file (`Kind`, uint8), in order and in pieces.

        Before it the first cluster of the piece, a multiple of 8, and the one behind it. None
        stands for a piece in which all clusters are free and none is damaged: there may be
        thousands of these in a file full of holes, and they cost next to nothing.
        """
        kinds = kinds_of(self.uses.users)
        for start in range(0, self.space.clusters, _WINDOW):
            end = min(start + _WINDOW, self.space.clusters)
            if not self.uses.any_in(start, end) and not any(
                marks.any_in(start, end) for marks in (self.leaks.unreferenced, self.damaged)
            ):
                yield start, end, None
                continue
            codes = self.uses.codes[start:end]
            found = kinds[codes]
            leaked = self.leaks.unreferenced.flags(start, end)
            if leaked.any():
                found[leaked & (codes == NOBODY)] = Kind.LEAKED
            yield start, end, found

    def host_map(self, number: int) -> Cells:
        """The file from its start to its end in at most ``number`` cells; units are clusters."""
        cells = Cells(self.space.clusters, number, len(Kind))
        for start, end, kinds in self.windows():
            if kinds is None:
                cells.add(np.array([start]), np.array([end]), np.array([Kind.FREE]))
            else:
                cells.add_row(start, kinds)
        for chunk in self.damaged.chunks():
            cells.mark(chunk, chunk + 1)
        return cells

    def bytes_of_kinds(self) -> NDArray[np.int64]:
        """The bytes of the file that are of each kind: int64, by `Kind`."""
        counts = np.zeros(len(Kind), dtype=np.int64)
        last = int(Kind.FREE)
        for start, end, kinds in self.windows():
            if kinds is None:
                counts[Kind.FREE] += end - start
                last = int(Kind.FREE)
            else:
                counts += np.bincount(kinds, minlength=len(Kind))
                last = int(kinds[-1])
        counts <<= self.space.cluster_bits
        counts[last] -= self.space.missing
        return counts

    def bytes_in(self, clusters: BitSet) -> int:
        """The bytes of the file in a set of its clusters."""
        last = np.array([self.space.clusters - 1])
        cut = self.space.missing if clusters and clusters.contains(last)[0] else 0
        return (len(clusters) << self.space.cluster_bits) - cut
