"""What a cluster holds, in one word: each cluster of the file is of exactly one kind."""

from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from qcow2_dump.checks.space.users import NOBODY, Use, Users, trees_in

__all__ = ["Kind", "kinds_of"]


class Kind(IntEnum):
    """The kinds of clusters, in the order in which maps and tables list them.

    ``SHARED`` is data of the active layer that snapshots have as well. ``STATE`` is VM state.
    ``LEAKED`` clusters have a refcount but no user, ``FREE`` ones neither.
    """

    HEADER = 0
    SNAPSHOT_TABLE = 1
    L1 = 2
    L2 = 3
    REFCOUNTS = 4
    LUKS = 5
    BITMAPS = 6
    ACTIVE = 7
    SHARED = 8
    SNAPSHOTS = 9
    STATE = 10
    COMPRESSED = 11
    LEAKED = 12
    FREE = 13


# The first that is among the uses decides: what is claimed twice is shown as metadata.
_FIRST = (
    (int(Use.HEADER), Kind.HEADER),
    (int(Use.L1), Kind.L1),
    (int(Use.L2), Kind.L2),
    (int(Use.REFCOUNT_TABLE | Use.REFCOUNT_BLOCK), Kind.REFCOUNTS),
    (int(Use.SNAPSHOT_TABLE), Kind.SNAPSHOT_TABLE),
    (int(Use.LUKS), Kind.LUKS),
    (int(Use.BITMAPS), Kind.BITMAPS),
    (int(Use.COMPRESSED), Kind.COMPRESSED),
    (int(Use.VM_STATE), Kind.STATE),
)
_CROWD = int(Use.CROWD)


def kinds_of(users: Users) -> NDArray[np.uint8]:
    """The kind of clusters with each code: uint8[codes]. Nobody's are free."""
    kinds = np.array([_kind(mask) for mask in users.masks], dtype=np.uint8)
    kinds[NOBODY] = Kind.FREE
    return kinds


def _kind(mask: int) -> Kind:
    for uses, kind in _FIRST:
        if mask & uses:
            return kind
    trees = trees_in(mask)
    if not trees & 1:
        return Kind.SNAPSHOTS
    return Kind.SHARED if trees >> 1 or mask & _CROWD else Kind.ACTIVE
