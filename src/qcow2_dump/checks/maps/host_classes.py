"""What the data in each cluster of the file is to the guest."""

import numpy as np
from numpy.typing import NDArray

from qcow2_dump.checks.maps.guest_class import GuestClass
from qcow2_dump.checks.maps.runs import DAMAGED
from qcow2_dump.checks.space.kinds import Kind, kinds_of
from qcow2_dump.checks.space.survey import Survey

__all__ = ["HostClasses"]

_OF_KIND = np.full(len(Kind), GuestClass.DATA, dtype=np.uint8)
_OF_KIND[Kind.SHARED] = GuestClass.SHARED
_OF_KIND[Kind.COMPRESSED] = GuestClass.COMPRESSED

_DAMAGED = np.uint8(DAMAGED)


class HostClasses:
    """Looks up a `GuestClass`, with `DAMAGED` or not, by host cluster; takes no memory of its own.

    Clusters are those of a finished survey and one more: what lies past the end of the file
    cannot be read, and is damaged.
    """

    def __init__(self, survey: Survey) -> None:
        self._classes: NDArray[np.uint8] = _OF_KIND[kinds_of(survey.uses.users)]
        self._codes = survey.uses.codes
        self._damaged = survey.damaged
        self._any_damaged = bool(survey.damaged)
        self._end = survey.space.clusters

    def of(self, clusters: NDArray[np.int64]) -> NDArray[np.uint8]:
        """The classes of some clusters: uint8[n]."""
        found: NDArray[np.uint8] = self._classes[self._codes[clusters]]
        inside = clusters < self._end
        found[~inside] |= _DAMAGED
        if self._any_damaged:
            found[inside] |= self._damaged.contains(clusters[inside]).astype(np.uint8) * _DAMAGED
        return found

    def between(self, first: int, end: int) -> NDArray[np.uint8]:
        """The classes of the clusters ``first`` to ``end``, not included: uint8[end - first]."""
        found: NDArray[np.uint8] = self._classes[self._codes[first:end]]
        inside = min(end, self._end) - first
        found[inside:] |= _DAMAGED
        if inside > 0:
            flags = self._damaged.flags(first, first + inside)
            if flags.any():
                found[:inside] |= flags.astype(np.uint8) * _DAMAGED
        return found
