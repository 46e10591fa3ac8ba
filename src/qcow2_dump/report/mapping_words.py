"""What the parts of a mapping are called, in tables and in JSON alike."""

from qcow2_dump.image.problems import MappingProblem
from qcow2_dump.ondisk.mapping import ClusterType, EntryFlag

__all__ = ["PROBLEM_WORDS", "TYPE_NAMES", "flag_names", "problem_name"]

TYPE_NAMES = {
    ClusterType.UNALLOCATED: "unallocated",
    ClusterType.ZERO_PLAIN: "zero-plain",
    ClusterType.ZERO_ALLOC: "zero-allocated",
    ClusterType.NORMAL: "normal",
    ClusterType.COMPRESSED: "compressed",
}
"""The names of the types in JSON."""

PROBLEM_WORDS = {
    MappingProblem.L1_UNREADABLE: "the L1 table cannot be read",
    MappingProblem.L1_BEYOND_END: "the L1 entry lies past the end of the file",
    MappingProblem.L2_UNALIGNED: "the L2 table is unaligned",
    MappingProblem.L2_UNREADABLE: "the L2 table cannot be read",
    MappingProblem.L2_BEYOND_END: "the L2 table lies past the end of the file",
    MappingProblem.UNALIGNED: "the host offset is unaligned",
    MappingProblem.BEYOND_END: "past the end of the file",
    MappingProblem.SUBCLUSTERS: "the subcluster bits contradict each other",
    MappingProblem.ZERO_IN_V2: "version 2 knows no zero flag",
    MappingProblem.DATA_FILE_OFFSET: "not at its guest offset in the data file",
    MappingProblem.COMPRESSED_IN_DATA_FILE: "compressed, though there is a data file",
}
"""What is wrong, in words for people."""


def problem_name(problem: MappingProblem) -> str | None:
    """The name of a problem in JSON, None where nothing is wrong."""
    return problem.name.lower().replace("_", "-") if problem else None


def flag_names(raw: int, *, in_l2: bool, extended_l2: bool = False) -> list[str]:
    """The flags of a raw L1 or L2 entry; other bits than the known ones are left out."""
    names = ["COPIED"] if raw & EntryFlag.COPIED else []
    if in_l2 and raw & EntryFlag.COMPRESSED:
        return [*names, "COMPRESSED"]
    # With extended L2, as in compressed entries, bit 0 has no meaning of its own.
    if in_l2 and raw & EntryFlag.ZERO and not extended_l2:
        names.append("ZERO")
    return names
