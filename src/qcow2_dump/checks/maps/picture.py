"""All that a page shows of an image besides its findings: both maps, and what lies where."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from qcow2_dump.checks.checker import Checker
from qcow2_dump.checks.facts import CheckFacts
from qcow2_dump.checks.maps.guest_map import GuestMap, map_guest
from qcow2_dump.checks.maps.host_classes import HostClasses
from qcow2_dump.checks.maps.host_map import HostMap, HostMapper
from qcow2_dump.checks.maps.structures import Structures, find_structures
from qcow2_dump.checks.space.doubts import Doubt, doubts_of
from qcow2_dump.checks.space.summing import sum_up
from qcow2_dump.checks.space.sums import SpaceSums
from qcow2_dump.checks.space.survey import Survey
from qcow2_dump.checks.steps import Step
from qcow2_dump.checks.trees import Tree, trees_of
from qcow2_dump.ondisk.constants import MAX_FILE_OFFSET

__all__ = ["Picture", "PictureMaker"]

# What a page has room for: some hundred kilobytes each, packed.
_MOST_RUNS = 100_000
_MOST_EXTENTS = 30_000
_MOST_STRUCTURES = 20_000

# L2 tables that the walk over the disk may read beyond twice those of the check, in bytes: only a
# hostile image leads to the same ones time and again, or to millions of holes.
_MOST_BEYOND = 512 << 20


@dataclass(frozen=True, slots=True)
class Picture:
    """The maps of the file and of the disk of the active layer, and where the metadata lies.

    ``sums`` says what the space in the file adds up to, by ``trees``, and ``doubts`` why that may
    not be all there is to say.
    """

    sums: SpaceSums
    doubts: list[Doubt]
    trees: list[Tree]
    host: HostMap
    guest: GuestMap
    structures: Structures


class PictureMaker:
    """Makes the picture of an image from its finished check of all trees."""

    def __init__(self, checker: Checker) -> None:
        self._facts = checker.facts
        self._survey = Survey(checker)

    def run(self) -> Iterator[Step]:
        """Walk the tables for what is used by whom. Raises SourceError when they cannot be read."""
        yield from self._survey.run()

    def picture(self) -> Picture:
        """The picture, when all has run; walks the active layer. Raises SourceError likewise."""
        image, space = self._facts.image, self._facts.space
        host = HostMapper(space.length, space.cluster_size)
        classes = HostClasses(self._survey)
        sums = sum_up(self._survey, host.take, classes.take)
        guest = map_guest(
            image,
            trees_of(image)[0],
            None if image.header.has_data_file else classes,
            most_runs=_MOST_RUNS,
            most_extents=_MOST_EXTENTS,
            limit=_walkable(self._facts),
        )
        structures = find_structures(self._facts, _MOST_STRUCTURES)
        doubts = doubts_of(self._survey, sums)
        runs = host.map(_MOST_RUNS)
        return Picture(sums, doubts, self._facts.trees, runs, guest, structures)


def _walkable(facts: CheckFacts) -> int | None:
    """The guest offset up to which the active layer can be walked in bounded time; None for all."""
    tree, tables, geometry = facts.trees[0], facts.tables, facts.image.geometry
    if not tree.usable:
        return None
    read = int(np.count_nonzero(tables.walked & ~tables.hole))
    most = 2 * read + max(1, _MOST_BEYOND >> geometry.cluster_bits)
    chosen = facts.slots.of_tree(tree)
    if chosen.stop - chosen.start <= most:
        return None
    last = int(facts.slots.place[chosen.start + most])
    return min((last - tree.l1_offset >> 3) * geometry.l1_span, MAX_FILE_OFFSET)
