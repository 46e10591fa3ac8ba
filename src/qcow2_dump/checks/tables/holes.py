"""Which parts of a sparse file hold data: what lies in its holes need not be read."""

import numpy as np
from numpy.typing import NDArray

from qcow2_dump.storage.base import ByteSource

__all__ = ["holds_data"]


def holds_data(source: ByteSource, offsets: NDArray[np.int64], length: int) -> NDArray[np.bool_]:
    """Which stretches of ``length`` bytes, at ascending offsets, are not wholly holes: bool[n].

    Asks once per stretch of data or hole, so never more often than there is data. What lies past
    the end of the file is a hole.
    """
    held = np.zeros(len(offsets), dtype=np.bool_)
    limit = int(offsets[-1]) + length if len(offsets) else 0
    at = 0
    while at < len(offsets):
        data, hole = next(source.data_ranges(int(offsets[at]), limit), (limit, limit))
        first, behind = np.searchsorted(offsets, [data - length + 1, hole])
        held[max(at, int(first)) : behind] = True
        at = max(at + 1, int(behind))
    return held
