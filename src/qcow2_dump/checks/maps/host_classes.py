"""What the data in each cluster of the file is to the guest."""

from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from qcow2_dump.checks.maps.class_values import DAMAGED
from qcow2_dump.checks.maps.guest_class import GuestClass
from qcow2_dump.checks.maps.ranks import Ranks
from qcow2_dump.checks.space.kinds import Kind, kinds_of
from qcow2_dump.checks.space.stretches import Stretches
from qcow2_dump.checks.space.survey import Survey

__all__ = ["ClassPieces", "HostClasses"]

_OF_KIND = np.full(len(Kind), GuestClass.DATA, dtype=np.uint8)
_OF_KIND[Kind.SHARED] = GuestClass.SHARED
_OF_KIND[Kind.COMPRESSED] = GuestClass.COMPRESSED

_DAMAGED = np.uint8(DAMAGED)

# Where the class changes is listed, nine bytes each; where that is more often, the class of each
# cluster is noted, in a byte.
_MOST_CUTS = 1 << 18

# Where fewer than one cluster in so many is no plain data, only these are noted.
_RARE = 8


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
        self._found: list[tuple[NDArray[np.int64], NDArray[np.uint8]]] = []
        self._number = 0
        self._noted: NDArray[np.uint8] | None = None

    @property
    def are_scattered(self) -> bool:
        """Whether there are so many pieces that it is quicker to ask for each cluster."""
        return self._noted is not None

    def take(self, stretches: Stretches) -> None:
        """Note where the class changes in the next piece of the file."""
        values = _OF_KIND[stretches.kinds] | stretches.damaged.astype(np.uint8) * _DAMAGED
        if self._noted is not None:
            _note(self._noted, stretches.start, values, stretches.end)
            return
        goes_on = bool(self._found) and int(self._found[-1][1][-1]) == int(values[0])
        heads = np.flatnonzero(np.append(not goes_on, values[1:] != values[:-1]))
        if not len(heads):
            return
        self._found.append((stretches.start[heads], values[heads]))
        self._number += len(heads)
        if self._number > _MOST_CUTS:
            self._note_all(stretches.end)

    def _note_all(self, end: int) -> None:
        """Go on with the class of each cluster; those up to ``end``, not included, are found."""
        self._noted = np.zeros(self._end + 1, dtype=np.uint8)
        self._noted[self._end] = self._behind ^ GuestClass.DATA
        ends = [int(start[0]) for start, _ in self._found[1:]]
        for (start, values), behind in zip(self._found, [*ends, end], strict=True):
            _note(self._noted, start, values, behind)
        self._found = []

    @property
    def _behind(self) -> np.uint8:
        """The class of what lies past the end of the file."""
        code = self._codes[self._end :][:1]
        behind: np.uint8 = self._classes[code[0]] if len(code) else _OF_KIND[Kind.FREE]
        return np.uint8(behind | _DAMAGED)

    @cached_property
    def _cuts(self) -> tuple[Ranks, NDArray[np.uint8]] | None:
        """The clusters where the class may change, and the classes from there on.

        None where there are too many.
        """
        if self._noted is not None:
            return None
        last = np.array([self._end], dtype=np.int64), np.array([self._behind], dtype=np.uint8)
        found = [*self._found, last]
        return Ranks([start for start, _ in found]), np.concatenate([each for _, each in found])

    @cached_property
    def _single(self) -> np.uint8 | None:
        """The class of all clusters of the file; None where there are several."""
        if self._number != 1:
            return None
        single: np.uint8 = self._found[0][1][0]
        return single

    def of(self, clusters: NDArray[np.int64]) -> NDArray[np.uint8]:
        """The class of each of some clusters: uint8[n]."""
        if self._noted is not None:
            # Among so many twice as fast as `take`.
            noted: NDArray[np.uint8] = self._noted[clusters]
            noted ^= np.uint8(GuestClass.DATA)
            return noted
        outside = int(clusters.max(initial=0)) >= self._end
        if self._single is not None and not outside:
            return np.full(len(clusters), self._single)
        found: NDArray[np.uint8] = self._classes.take(self._codes[clusters])
        if outside:
            inside = clusters < self._end
            found[~inside] |= _DAMAGED
            found[inside] |= self._damaged.contains(clusters[inside]).view(np.uint8) * _DAMAGED
        else:
            found |= self._damaged.contains(clusters).view(np.uint8) * _DAMAGED
        return found

    def pieces(self, first: NDArray[np.int64], last: NDArray[np.int64]) -> ClassPieces:
        """Cut ranges of clusters, which go from ``first`` to ``last``, both included (int64)."""
        if self._single is not None and int(last.max(initial=0)) < self._end:
            none = np.zeros(0, dtype=np.int64)
            return ClassPieces(self.of(first), np.zeros_like(first), none, none.astype(np.uint8))
        if self._cuts is None:
            clusters = _counted_up(first + 1, last - first)
            return ClassPieces(self.of(first), last - first, clusters, self.of(clusters))
        ranks, values = self._cuts
        low = ranks.of(first) - 1
        more = ranks.of(last) - 1 - low
        at = _counted_up(low + 1, more)
        return ClassPieces(values[low], more, ranks.numbers[at], values[at])


def _note(
    noted: NDArray[np.uint8], start: NDArray[np.int64], values: NDArray[np.uint8], end: int
) -> None:
    """Note the classes of some stretches, of which the last ends at ``end``, for each cluster.

    What is most frequent by far is noted as 0: it takes no room where a file is full of holes.
    """
    values = values ^ np.uint8(GuestClass.DATA)
    others = np.flatnonzero(values)
    length = np.diff(start, append=end)
    if int(length[others].sum()) * _RARE > end - int(start[0]):
        noted[start[0] : end] = np.repeat(values, length)
    elif len(others):
        # Most of them are single clusters.
        start, values, length = start[others], values[others], length[others]
        noted[start] = values
        longer = np.flatnonzero(length > 1)
        length = length[longer]
        noted[_counted_up(start[longer], length)] = np.repeat(values[longer], length)


def _counted_up(first: NDArray[np.int64], number: NDArray[np.int64]) -> NDArray[np.int64]:
    """From each of ``first`` on so many numbers that follow each other: int64."""
    begin = np.cumsum(number) - number
    counted: NDArray[np.int64] = np.arange(int(number.sum())) + np.repeat(first - begin, number)
    return counted
