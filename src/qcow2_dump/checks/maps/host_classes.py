"""What the data in each cluster of the file is to the guest."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from qcow2_dump.checks.maps.guest_class import GuestClass
from qcow2_dump.checks.maps.runs import DAMAGED
from qcow2_dump.checks.space.kinds import Kind, kinds_of
from qcow2_dump.checks.space.survey import Survey

__all__ = ["ClassPieces", "HostClasses"]

_OF_KIND = np.full(len(Kind), GuestClass.DATA, dtype=np.uint8)
_OF_KIND[Kind.SHARED] = GuestClass.SHARED
_OF_KIND[Kind.COMPRESSED] = GuestClass.COMPRESSED

_DAMAGED = np.uint8(DAMAGED)

# Where the class changes is listed, nine bytes each, unless that is more often.
_MOST_CUTS = 1 << 22

# At least one in so many clusters is such a place: then a bit for each cluster is worth its room.
_DENSE = 1024


class ClassPieces(NamedTuple):
    """Ranges of clusters cut where their class may change.

    ``number`` of pieces of each range (int64[ranges]), the ``first`` cluster of each piece (int64)
    and its class (uint8), range by range.
    """

    number: NDArray[np.int64]
    first: NDArray[np.int64]
    values: NDArray[np.uint8]


class HostClasses:
    """Looks up a `GuestClass`, with `DAMAGED` or not, by host cluster.

    Clusters are those of a finished survey and one more: what lies past the end of the file
    cannot be read, and is damaged.
    """

    def __init__(self, survey: Survey) -> None:
        self._classes: NDArray[np.uint8] = _OF_KIND[kinds_of(survey.uses.users)]
        self._codes = survey.uses.codes
        self._damaged = survey.damaged
        self._end = survey.space.clusters
        self._cuts = _cuts_of(survey)
        self._ranks = None if self._cuts is None else _Ranks(self._cuts[0])

    def pieces(self, first: NDArray[np.int64], last: NDArray[np.int64]) -> ClassPieces:
        """Cut ranges of clusters, which go from ``first`` to ``last``, both included (int64)."""
        if self._cuts is None or self._ranks is None:
            number = last - first + 1
            clusters = _counted_up(first, number)
            return ClassPieces(number, clusters, self._of(clusters))
        starts, values = self._cuts
        low, high = self._ranks.of(first) - 1, self._ranks.of(last) - 1
        number = high - low + 1
        if len(first) == 0 or int(number.max()) == 1:
            return ClassPieces(number, first, values[low])
        at = _counted_up(low, number)
        clusters = starts[at]
        clusters[np.cumsum(number) - number] = first
        return ClassPieces(number, clusters, values[at])

    def _of(self, clusters: NDArray[np.int64]) -> NDArray[np.uint8]:
        """The classes of some clusters: uint8[n]."""
        found: NDArray[np.uint8] = self._classes[self._codes[clusters]]
        inside = clusters < self._end
        found[~inside] |= _DAMAGED
        found[inside] |= self._damaged.contains(clusters[inside]).astype(np.uint8) * _DAMAGED
        return found


class _Ranks:
    """How many of some ascending, distinct numbers (int64, not negative) are not above another.

    None of those that are asked about may be above the last one. Where the numbers lie close to
    each other they are looked up as bits, which is far quicker than a search.
    """

    def __init__(self, numbers: NDArray[np.int64]) -> None:
        self._numbers = numbers
        self._words: NDArray[np.uint64] | None = None
        if len(numbers) * _DENSE > int(numbers[-1]):
            word = numbers >> 6
            heads = np.flatnonzero(np.append(True, word[1:] != word[:-1]))
            bits = np.left_shift(np.uint64(1), (numbers & 63).astype(np.uint64))
            self._words = np.zeros(int(word[-1]) + 1, dtype=np.uint64)
            self._words[word[heads]] = np.bitwise_or.reduceat(bits, heads)
            held = np.bitwise_count(self._words)
            self._below: NDArray[np.int64] = np.cumsum(held, dtype=np.int64) - held

    def of(self, asked: NDArray[np.int64]) -> NDArray[np.int64]:
        """How many of the numbers are at most each of the ``asked`` ones (int64): int64."""
        if self._words is None:
            return np.searchsorted(self._numbers, asked, side="right")
        word = asked >> 6
        bits = np.left_shift(self._words[word], (63 - (asked & 63)).astype(np.uint64))
        ranks: NDArray[np.int64] = self._below[word] + np.bitwise_count(bits)
        return ranks


def _cuts_of(survey: Survey) -> tuple[NDArray[np.int64], NDArray[np.uint8]] | None:
    """The clusters where the class changes (int64) and the classes from there on (uint8).

    None where there are too many.
    """
    starts, classes, cuts, before = [], [], 0, None
    for stretches in survey.stretches():
        found = _OF_KIND[stretches.kinds] | stretches.damaged.astype(np.uint8) * _DAMAGED
        heads = np.flatnonzero(np.append(before != found[0], found[1:] != found[:-1]))
        starts.append(stretches.start[heads])
        classes.append(found[heads])
        before, cuts = found[-1], cuts + len(heads)
        if cuts > _MOST_CUTS:
            return None
    end = survey.space.clusters
    behind = _OF_KIND[kinds_of(survey.uses.users)[survey.uses.codes[end]]] | _DAMAGED
    starts.append(np.array([end], dtype=np.int64))
    classes.append(np.array([behind], dtype=np.uint8))
    return np.concatenate(starts), np.concatenate(classes)


def _counted_up(first: NDArray[np.int64], number: NDArray[np.int64]) -> NDArray[np.int64]:
    """From each of ``first`` on so many numbers that follow each other: int64."""
    begin = np.cumsum(number) - number
    counted: NDArray[np.int64] = np.arange(int(number.sum())) + np.repeat(first - begin, number)
    return counted
