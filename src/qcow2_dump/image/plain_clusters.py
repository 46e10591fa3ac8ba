"""Guest clusters of which each is plain data or nothing, as they lie in L2 tables.

Where data is scattered over the file there are as many extents as clusters; whoever wants no
more than to know where these lie is spared making them.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qcow2_dump.image.extents import NO_HOST, ExtentBatch
from qcow2_dump.ondisk.mapping import ClusterType

__all__ = ["PlainClusters"]

_NORMAL, _UNALLOCATED = np.uint8(ClusterType.NORMAL), np.uint8(ClusterType.UNALLOCATED)


@dataclass(frozen=True, slots=True)
class PlainClusters:
    """Whole guest clusters of ``size`` bytes that follow each other, without a problem.

    They begin at the guest offset ``start``. ``placed`` (bool[clusters]) says which have data,
    ``host`` (int64[clusters]) where that lies, in bytes; it is 0 for the others. ``heads``
    (bool[clusters]) are those with which an extent begins, the first among them.
    """

    start: int
    size: int
    host: NDArray[np.int64]
    placed: NDArray[np.bool_]
    heads: NDArray[np.bool_]

    @classmethod
    def make(cls, start: int, size: int, host: NDArray[np.int64]) -> "PlainClusters":
        """The same with all else found; places are multiples of ``size``, or 0."""
        placed = host != 0
        heads = np.empty(len(host), dtype=np.bool_)
        heads[0] = True
        np.not_equal(host[1:] - host[:-1], size, out=heads[1:])
        if not placed.all():
            # From nothing to nothing goes on, from nothing to the second cluster does not.
            heads[1:] &= placed[:-1]
            heads[1:] |= placed[:-1] != placed[1:]
        return cls(start, size, host, placed, heads)

    @property
    def end(self) -> int:
        """The guest offset at which the last one ends."""
        return self.start + len(self.host) * self.size

    def extents(self) -> ExtentBatch:
        """The same as extents."""
        heads = np.flatnonzero(self.heads)
        placed = self.placed[heads]
        host = np.where(placed, self.host[heads], NO_HOST)
        kind = np.where(placed, _NORMAL, _UNALLOCATED)
        length = np.diff(heads, append=len(self.host)) * self.size
        start = self.start + heads * self.size
        return ExtentBatch.make(start, length, host, kind, np.zeros(len(host), dtype=np.uint8))
