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


@dataclass(frozen=True, slots=True)
class PlainClusters:
    """Whole guest clusters of ``size`` bytes that follow each other, without a problem.

    They begin at the guest offset ``start``. ``host`` (int64[clusters]) is where the data of each
    lies, in bytes, NO_HOST where nothing is allocated. ``heads`` (bool[clusters]) are those with
    which an extent begins, the first among them.
    """

    start: int
    size: int
    host: NDArray[np.int64]
    heads: NDArray[np.bool_]

    @classmethod
    def make(cls, start: int, size: int, host: NDArray[np.int64]) -> "PlainClusters":
        """The same with the heads found; places are multiples of ``size``."""
        heads = np.empty(len(host), dtype=np.bool_)
        heads[0] = True
        # Nothing follows NO_HOST: the sum would not be a multiple.
        np.not_equal(host[1:] - host[:-1], size, out=heads[1:])
        if int(host.min()) == NO_HOST:
            heads[1:] &= (host[1:] & host[:-1]) != NO_HOST
        return cls(start, size, host, heads)

    @property
    def end(self) -> int:
        """The guest offset at which the last one ends."""
        return self.start + len(self.host) * self.size

    def extents(self) -> ExtentBatch:
        """The same as extents."""
        heads = np.flatnonzero(self.heads)
        host = self.host[heads]
        kind = np.full(len(host), ClusterType.NORMAL, dtype=np.uint8)
        kind[host == NO_HOST] = ClusterType.UNALLOCATED
        length = np.diff(heads, append=len(self.host)) * self.size
        start = self.start + heads * self.size
        return ExtentBatch.make(start, length, host, kind, np.zeros(len(host), dtype=np.uint8))
