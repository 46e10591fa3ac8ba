"""Ascending indices as stretches."""

import numpy as np
from numpy.typing import NDArray

__all__ = ["stretches"]

_I64 = NDArray[np.int64]


def stretches(indices: _I64, reach: int = 1) -> tuple[_I64, _I64]:
    """The stretches that cover ascending indices (int64): where each starts, and the one behind it.

    Indices at most ``reach`` apart are in one stretch. Both arrays are int64.
    """
    if not len(indices):
        return indices, indices
    apart = np.flatnonzero(np.diff(indices) > reach)
    starts = indices[np.concatenate(([0], apart + 1))]
    ends = indices[np.concatenate((apart, [len(indices) - 1]))] + 1
    return starts, ends
