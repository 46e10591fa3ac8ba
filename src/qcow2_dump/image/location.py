"""What is known of the place of a guest offset, tree by tree."""

from dataclasses import dataclass

from qcow2_dump.image.lookup import Lookup
from qcow2_dump.image.refcount_lookup import StoredRefcount

__all__ = ["GuestLocation", "TreesAlike"]


@dataclass(frozen=True, slots=True)
class TreesAlike:
    """Some trees (``active``, or a snapshot's ID) that map an offset by the same L2 entry.

    ``lookup`` is that of the first of them. The stored refcounts are those of the L2 table and of
    each host cluster that holds the guest cluster.
    """

    trees: tuple[str, ...]
    lookup: Lookup
    table_refcount: StoredRefcount | None
    refcounts: tuple[StoredRefcount, ...]


@dataclass(frozen=True, slots=True)
class GuestLocation:
    """The answer for a guest offset in bytes: groups of trees, that of the active layer first.

    ``outside`` names the trees whose disk (and VM state) ends before the offset.
    """

    offset: int
    groups: tuple[TreesAlike, ...]
    outside: tuple[str, ...]
