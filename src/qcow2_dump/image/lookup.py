"""One guest offset through one tree: the entries on the way and what they make of it.

Reads a handful of bytes and needs no arrays. The scalar twin of `image.l2_runs`.
"""

from dataclasses import dataclass, replace

from qcow2_dump.errors import SourceError
from qcow2_dump.image.guest_tree import TreeRoot, l1_entries_inside
from qcow2_dump.image.image import Image
from qcow2_dump.image.problems import MappingProblem
from qcow2_dump.ondisk.constants import SECTOR_SIZE
from qcow2_dump.ondisk.mapping import (
    SUBCLUSTER_ALLOCATED_MASK,
    ClusterType,
    L1Entry,
    L2Entry,
    subcluster_conflict,
)

__all__ = ["Lookup", "look_up"]


@dataclass(frozen=True, slots=True)
class Lookup:
    """What a tree makes of a guest offset; offsets and lengths in bytes.

    ``l1_place`` and ``l2_place`` are the file offsets of the two entries, None together with the
    entry where there is no such entry in the file or it cannot be read. ``type`` is that of the
    cluster or, with extended L2, of the ``subcluster``. ``host`` and ``host_length`` say what holds
    the cluster (of a compressed one: its stream), None where nothing does; ``problem`` what is
    wrong.
    """

    guest_offset: int
    l1_index: int
    l2_index: int
    l1_place: int | None
    l1: L1Entry | None
    l2_place: int | None
    l2: L2Entry | None
    type: ClusterType
    subcluster: int | None
    host: int | None
    host_length: int | None
    problem: MappingProblem = MappingProblem.NONE

    def host_byte(self, cluster_size: int) -> int | None:
        """Where exactly the guest's byte lies; None where no single byte holds it."""
        if self.host is None or self.type != ClusterType.NORMAL:
            return None
        return self.host + self.guest_offset % cluster_size


def look_up(image: Image, root: TreeRoot, guest_offset: int) -> Lookup:
    """Follow a guest offset through a tree. What cannot be read becomes a problem."""
    l1_index, l2_index = image.geometry.guest_indices(guest_offset)
    nothing = Lookup(
        guest_offset,
        l1_index,
        l2_index,
        l1_place=None,
        l1=None,
        l2_place=None,
        l2=None,
        type=ClusterType.UNALLOCATED,
        subcluster=None,
        host=None,
        host_length=None,
    )
    if not root.usable:
        return replace(nothing, type=ClusterType.NORMAL, problem=MappingProblem.L1_UNREADABLE)
    if l1_index >= root.l1_size:
        return nothing
    if l1_index >= l1_entries_inside(root, image.source.size):
        return replace(nothing, problem=MappingProblem.L1_BEYOND_END)
    place = root.l1_offset + 8 * l1_index
    try:
        l1 = L1Entry.unpack(image.source.read(place, 8))
    except SourceError:
        return replace(nothing, type=ClusterType.NORMAL, problem=MappingProblem.L1_UNREADABLE)
    found = replace(nothing, l1_place=place, l1=l1)
    return found if l1.offset == 0 else _below(image, found, l1.offset)


def _below(image: Image, found: Lookup, table: int) -> Lookup:
    """The rest of the way, through the L2 table."""
    geometry = image.geometry
    if not geometry.is_aligned(table):
        return replace(found, type=ClusterType.NORMAL, problem=MappingProblem.L2_UNALIGNED)
    place = table + found.l2_index * geometry.l2_entry_size
    try:
        data = image.source.read(place, geometry.l2_entry_size)
    except SourceError:
        return replace(found, type=ClusterType.NORMAL, problem=MappingProblem.L2_UNREADABLE)
    entry = L2Entry.unpack(data, extended_l2=geometry.extended_l2)
    kind = entry.cluster_type(
        extended_l2=geometry.extended_l2, data_file=image.header.has_data_file
    )
    problem = _problem(image, found.guest_offset, entry, kind)
    if table >= image.source.size:
        problem = MappingProblem.L2_BEYOND_END
    found = replace(found, l2_place=place, l2=entry, type=kind, problem=problem)
    if kind == ClusterType.COMPRESSED:
        stream = entry.descriptor(geometry.cluster_bits)
        return replace(found, host=stream.offset, host_length=stream.length)
    if kind in (ClusterType.NORMAL, ClusterType.ZERO_ALLOC):
        found = replace(found, host=entry.offset, host_length=geometry.cluster_size)
    return _subcluster(image, found, entry.bitmap) if geometry.extended_l2 else found


def _problem(image: Image, guest_offset: int, entry: L2Entry, kind: ClusterType) -> MappingProblem:
    geometry = image.geometry
    conflict = subcluster_conflict(entry.bitmap) if kind == ClusterType.NORMAL else 0
    if kind == ClusterType.UNALLOCATED:
        conflict = entry.bitmap & SUBCLUSTER_ALLOCATED_MASK
    placed = kind in (ClusterType.NORMAL, ClusterType.ZERO_ALLOC)
    if not image.header.is_v3 and kind in (ClusterType.ZERO_PLAIN, ClusterType.ZERO_ALLOC):
        return MappingProblem.ZERO_IN_V2
    if image.header.has_data_file:
        if kind == ClusterType.COMPRESSED:
            return MappingProblem.COMPRESSED_IN_DATA_FILE
        if placed and entry.offset != guest_offset & -geometry.cluster_size:
            return MappingProblem.DATA_FILE_OFFSET
    elif placed or kind == ClusterType.COMPRESSED:
        end = -(-image.source.size // SECTOR_SIZE) * SECTOR_SIZE
        start = entry.offset if placed else entry.descriptor(geometry.cluster_bits).offset
        if placed and not geometry.is_aligned(start):
            return MappingProblem.UNALIGNED
        if start >= end:
            return MappingProblem.BEYOND_END
    return MappingProblem.SUBCLUSTERS if conflict else MappingProblem.NONE


def _subcluster(image: Image, found: Lookup, bitmap: int) -> Lookup:
    """The type of the subcluster that the offset lies in (format section 2.3)."""
    geometry = image.geometry
    index = found.guest_offset % geometry.cluster_size // geometry.subcluster_size
    data, zero = bitmap >> index & 1, bitmap >> 32 + index & 1
    kind = found.type
    if kind == ClusterType.NORMAL and not data:
        kind = ClusterType.ZERO_ALLOC if zero else ClusterType.UNALLOCATED
    elif kind == ClusterType.UNALLOCATED and zero:
        kind = ClusterType.ZERO_PLAIN
    return replace(found, type=kind, subcluster=index)
