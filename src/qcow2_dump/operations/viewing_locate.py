"""`locate`: what holds a guest offset, and who claims a host cluster.

A guest offset takes a handful of table entries for each tree and no numpy; a host offset takes
a walk over all tables.
"""

from typing import TYPE_CHECKING

from qcow2_dump.checks.trees import Tree, trees_of
from qcow2_dump.errors import RequestError
from qcow2_dump.image.guest_tree import disk_end
from qcow2_dump.image.image import Image
from qcow2_dump.image.location import GuestLocation, TreesAlike
from qcow2_dump.image.lookup import Lookup, look_up
from qcow2_dump.image.refcount_lookup import StoredRefcount, stored_refcount
from qcow2_dump.operations.requests import LocateRequest

if TYPE_CHECKING:  # imports numpy
    from qcow2_dump.checks.owners.host_owners import HostLocation

__all__ = ["locate", "locate_guest"]


def locate(image: Image, request: LocateRequest) -> "GuestLocation | HostLocation":
    """Answer a request about an opened image. Raises as `locate_guest` and `locate_host` do."""
    if request.guest is not None:
        return locate_guest(image, request.guest)
    from qcow2_dump.checks.owners.host_owners import locate_host

    return locate_host(image, request.host or 0)


def locate_guest(image: Image, offset: int) -> GuestLocation:
    """Find a guest offset in all trees. Raises RequestError when it lies outside of all."""
    trees = trees_of(image)
    reached = [tree for tree in trees if _reaches(image, tree, offset)]
    if not reached:
        end = max(disk_end(tree) for tree in trees)
        raise RequestError(f"guest offset {offset:#x} lies past the end of the disk at {end:#x}")
    groups: dict[object, tuple[Lookup, list[str]]] = {}
    by_table: dict[tuple[int, int, bool], Lookup] = {}
    for tree in reached:
        table = (tree.l1_offset, tree.l1_size, tree.usable)
        found = by_table.get(table)
        if found is None:
            found = by_table[table] = look_up(image, tree, offset)
        # The L1 entries are each tree's own; what they lead to is what makes a difference.
        key = (found.l2_place, found.l2, found.type, found.problem)
        groups.setdefault(key, (found, []))[1].append(tree.label)
    outside = tuple(tree.label for tree in trees if not _reaches(image, tree, offset))
    alike = tuple(_alike(image, found, names) for found, names in groups.values())
    return GuestLocation(offset, alike, outside)


def _reaches(image: Image, tree: Tree, offset: int) -> bool:
    """Whether an offset lies in a tree's disk, or in the VM state that it maps behind that."""
    if offset < disk_end(tree):
        return True
    geometry = image.geometry
    behind = range(geometry.l1_entries_for(tree.disk_size), tree.l1_size)
    return tree.usable and tree.holds_vm_state and offset // geometry.l1_span in behind


def _alike(image: Image, found: Lookup, names: list[str]) -> TreesAlike:
    bits = image.geometry.cluster_bits
    table = None
    if found.l1 is not None and found.l1.offset:
        table = stored_refcount(image, found.l1.offset >> bits)
    held: tuple[StoredRefcount, ...] = ()
    if found.host is not None and found.host_length and not image.header.has_data_file:
        last = (found.host + found.host_length - 1) >> bits
        clusters = range(found.host >> bits, last + 1)
        held = tuple(stored_refcount(image, cluster) for cluster in clusters)
    return TreesAlike(tuple(names), found, table, held)
