"""What the data in each cluster of the file is to the guest."""

from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from qcow2_dump.checks.maps.guest_class import GuestClass
from qcow2_dump.checks.maps.ranks import Ranks
from qcow2_dump.checks.maps.runs import DAMAGED
from qcow2_dump.checks.space.kinds import Kind, kinds_of
from qcow2_dump.checks.space.stretches import Stretches
from qcow2_dump.checks.space.survey import Survey

__all__ = ["ClassPieces", "HostClasses"]

_OF_KIND = np.full(len(Kind), GuestClass.DATA, dtype=np.uint8)
_OF_KIND[Kind.SHARED] = GuestClass.SHARED
_OF_KIND[Kind.COMPRESSED] = GuestClass.COMPRESSED

_DAMAGED = np.uint8(DAMAGED)

# Where the class changes is listed, nine bytes each, unless that is more often.
_MOST_CUTS = 1 << 22


class ClassPieces(NamedTuple):
    """Ranges of clusters cut where their class may change.

    ``values`` are the classes with which the ranges begin (uint8[ranges]), ``more`` says how many
    further pieces each has (int64[ranges]). Of these, range by range, the first cluster (int64)
    and the class (uint8).
    """

    values: NDArray[np.uint8]
    more: NDArray[np.int64]
    more_clusters: NDArray[np.int64]
    more_values: NDArray[np.uint8]


class HostClasses:
    """Looks up a `GuestClass`, with `DAMAGED` or not, by host cluster.

    Clusters are those of a finished survey and one more: what lies past the end of the file
    cannot be read, and is damaged. All stretches of the survey are to be taken before.
    """

    def __init__(self, survey: Survey) -> None:
        self._classes: NDArray[np.uint8] = _OF_KIND[kinds_of(survey.uses.users)]
        self._codes = survey.uses.codes
        self._damaged = survey.damaged
        self._end = survey.space.clusters
        self._found: list[tuple[NDArray[np.int64], NDArray[np.uint8]]] | None = []
        self._number = 0

    def take(self, stretches: Stretches) -> None:
        """Note where the class changes in the next piece of the file."""
        if self._found is None:
            return
        values = _OF_KIND[stretches.kinds] | stretches.damaged.astype(np.uint8) * _DAMAGED
        heads = np.flatnonzero(np.append(True, values[1:] != values[:-1]))
        self._found.append((stretches.start[heads], values[heads]))
        self._number += len(heads)
        if self._number > _MOST_CUTS:
            self._found = None

    @cached_property
    def _cuts(self) -> tuple[Ranks, NDArray[np.uint8]] | None:
        """The clusters where the class may change, and the classes from there on.

        None where there are too many.
        """
        if self._found is None:
            return None
        behind = self._classes[self._codes[self._end :][:1]] | _DAMAGED
        found = [*self._found, (np.array([self._end], dtype=np.int64), behind)]
        return Ranks([start for start, _ in found]), np.concatenate([each for _, each in found])

    def pieces(self, first: NDArray[np.int64], last: NDArray[np.int64]) -> ClassPieces:
        """Cut ranges of clusters, which go from ``first`` to ``last``, both included (int64)."""
        if self._cuts is None:
            clusters = _counted_up(first + 1, last - first)
            return ClassPieces(self._of(first), last - first, clusters, self._of(clusters))
        ranks, values = self._cuts
        low = ranks.of(first) - 1
        more = ranks.of(last) - 1 - low
        at = _counted_up(low + 1, more)
        return ClassPieces(values[low], more, ranks.numbers[at], values[at])

    def _of(self, clusters: NDArray[np.int64]) -> NDArray[np.uint8]:
        """The classes of some clusters: uint8[n]."""
        found: NDArray[np.uint8] = self._classes[self._codes[clusters]]
        inside = clusters < self._end
        found[~inside] |= _DAMAGED
        found[inside] |= self._damaged.contains(clusters[inside]).astype(np.uint8) * _DAMAGED
        return found


def _counted_up(first: NDArray[np.int64], number: NDArray[np.int64]) -> NDArray[np.int64]:
    """From each of ``first`` on so many numbers that follow each other: int64."""
    begin = np.cumsum(number) - number
    counted: NDArray[np.int64] = np.arange(int(number.sum())) + np.repeat(first - begin, number)
    return counted
