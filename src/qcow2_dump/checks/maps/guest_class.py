"""What a part of the guest's disk can be mapped to."""

from enum import IntEnum

__all__ = ["GuestClass"]


class GuestClass(IntEnum):
    """What a part of the guest's disk is mapped to.

    UNKNOWN where nobody looked, UNREADABLE where the mapping is wrong and leads to no data.
    """

    UNALLOCATED = 0
    ZERO = 1
    DATA = 2
    SHARED = 3
    COMPRESSED = 4
    UNKNOWN = 5
    UNREADABLE = 6
