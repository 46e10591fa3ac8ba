"""Who uses each host cluster: one code of `Users` per cluster, in one byte while these are few."""

import itertools

import numpy as np
from numpy.typing import NDArray

from qcow2_dump.checks.space.users import NOBODY, Users
from qcow2_dump.ondisk import arrays

__all__ = ["UseMap"]

# Below this average length of ascending runs, going run by run loses to going one by one.
_WORTHWHILE_RUN = 512

# Clusters looked at together: what is made of them must not fill the memory.
_PIECE = 1 << 20

# Codes that fit one byte.
_NARROW = 1 << 8


class UseMap:
    """The users of ``size`` host clusters: ``codes`` is uint8[size], or uint16[size]."""

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
            piece = self.codes[start:stop]
            if piece.view(np.bool_ if piece.itemsize == 1 else np.uint16).any():
                whole = np.full(stop - start, code, dtype=np.int64)
                self.claim_each(np.arange(start, stop), whole)
            else:
                self._widen()
                self.codes[start:stop] = code

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
            keys = arrays.distinct((indices[lost] << 16) | codes[lost])
            indices, codes = keys >> 16, keys & 0xFFFF

    def _widen(self) -> None:
        """Make room for codes of two bytes once there are any."""
        if self.codes.itemsize == 1 and len(self.users.masks) > _NARROW:
            self.codes = self.codes.astype(np.uint16)
