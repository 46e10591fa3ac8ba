"""Who uses each host cluster: one code of `Users` per cluster, in one byte while these are few."""

import itertools

import numpy as np
from numpy.typing import NDArray

from qcow2_dump.checks.refcount_map import any_counts
from qcow2_dump.checks.space.users import NOBODY, Users
from qcow2_dump.ondisk import arrays

__all__ = ["UseMap"]

# Below this average length of ascending runs, going run by run loses to going one by one.
_WORTHWHILE_RUN = 512

# Clusters looked at together: what is made of them must not fill the memory.
_PIECE = 1 << 20

# A cluster and a code as one number: there are fewer codes than that.
_CODE_BITS = 20

# As many bytes as codes need by now.
_WIDTHS = (np.uint8, np.uint16, np.uint32)


class UseMap:
    """The users of ``size`` host clusters: ``codes`` is uint8[size], or of wider integers."""

    def __init__(self, size: int, users: Users) -> None:
        self.size = size
        self.users = users
        self.codes: NDArray[np.unsignedinteger] = np.zeros(size, dtype=np.uint8)

    def claim_range(self, first: int, end: int, code: int) -> None:
        """Add users to the clusters ``first`` to ``end``, not included; what lies outside of the
        map is left out."""
        end = min(end, self.size)
        for start in range(first, end, _PIECE):
            stop = min(start + _PIECE, end)
            if self.any_in(start, stop):
                whole = np.full(stop - start, code, dtype=np.int64)
                self.claim_each(np.arange(start, stop), whole)
            else:
                self._widen()
                self.codes[start:stop] = code

    def any_in(self, first: int, end: int) -> bool:
        """Whether anybody uses any of the clusters ``first`` to ``end``, not included."""
        return any_counts(self.codes[first:end])

    def claim(self, indices: NDArray[np.int64], code: int) -> None:
        """Add users to some clusters (int64, below ``size``); indices may repeat."""
        if not len(indices):
            return
        starts = np.flatnonzero(indices[1:] - indices[:-1] != 1) + 1
        if len(indices) >= (len(starts) + 1) * _WORTHWHILE_RUN:
            bounds = [0, *starts.tolist(), len(indices)]
            for start, end in itertools.pairwise(bounds):
                first = int(indices[start])
                self.claim_range(first, first + end - start, code)
            return
        if self.codes[indices].any():
            self.claim_each(indices, np.full(len(indices), code, dtype=np.int64))
        else:
            self._widen()
            self.codes[indices] = code

    def claim_unused(self, first: int, chosen: NDArray[np.bool_], code: int) -> None:
        """Give users to clusters that have none: those chosen of as many from ``first`` on."""
        self._widen()
        codes = self.codes[first : first + len(chosen)]
        # Nobody is 0, and to add is ten times faster than to set some of many.
        codes += chosen.astype(codes.dtype) * codes.dtype.type(code)

    def claim_each(self, indices: NDArray[np.int64], codes: NDArray[np.int64]) -> None:
        """Add users to clusters, of which each has its own: two int64 arrays of one length."""
        while len(indices):
            old = self.codes[indices].astype(np.int64)
            joined = codes.copy()
            used = np.flatnonzero((old != NOBODY) & (old != codes))
            joined[used] = self.users.join(old[used], codes[used])
            self._widen()
            self.codes[indices] = joined
            # Of several claims of one cluster the last has won.
            lost = np.flatnonzero(self.codes[indices] != joined)
            if not len(lost):
                return
            keys = arrays.distinct((indices[lost] << _CODE_BITS) | codes[lost])
            indices, codes = keys >> _CODE_BITS, keys & ((1 << _CODE_BITS) - 1)

    def _widen(self) -> None:
        """Make room for codes of more bytes once there are any."""
        highest = len(self.users.masks) - 1
        if highest > np.iinfo(self.codes.dtype).max:
            wider = next(width for width in _WIDTHS if highest <= np.iinfo(width).max)
            self.codes = self.codes.astype(wider)
