"""Why a guest range is not where its mapping says, or why that cannot be said."""

from enum import IntEnum

__all__ = ["MappingProblem"]


class MappingProblem(IntEnum):
    """What is wrong with the entry that maps a guest range; NONE where nothing is.

    Those from L1_UNREADABLE to L2_UNREADABLE leave the mapping itself unknown. L1_BEYOND_END and
    L2_BEYOND_END are entries past the end of the file, which read as zeros: nothing is mapped
    there. With the others the entry is known, but QEMU does not follow it (BEYOND_END excepted: it
    reads zeros there).
    """

    NONE = 0
    L1_UNREADABLE = 1
    L2_UNALIGNED = 2
    L2_UNREADABLE = 3
    L2_BEYOND_END = 4
    UNALIGNED = 5
    BEYOND_END = 6
    SUBCLUSTERS = 7
    ZERO_IN_V2 = 8
    DATA_FILE_OFFSET = 9
    COMPRESSED_IN_DATA_FILE = 10
    L1_BEYOND_END = 11

    @property
    def hides_mapping(self) -> bool:
        """Whether the table that maps the range cannot be read."""
        return MappingProblem.L1_UNREADABLE <= self <= MappingProblem.L2_UNREADABLE
