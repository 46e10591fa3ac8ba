"""The trees of an image: the active layer and each snapshot, and which of them can be walked."""

from dataclasses import dataclass

from qcow2_dump.image.image import Image
from qcow2_dump.image.tables import SnapshotEntry
from qcow2_dump.ondisk.constants import MAX_L1_ENTRIES, MAX_READABLE_OFFSET
from qcow2_dump.ondisk.geometry import Geometry
from qcow2_dump.ondisk.header import Header

__all__ = ["ACTIVE", "LISTED_TREES", "Tree", "tree_label", "trees_of"]

ACTIVE = "active"

LISTED_TREES = 16
"""How many of the trees that reach a place a finding names."""

# QEMU takes IDs of 127 bytes; in a damaged record they can have 65,535.
_LONGEST_LABEL = 128


@dataclass(frozen=True, slots=True)
class Tree:
    """One L1 table and what is below it.

    ``index`` is the position in the snapshot table, None for the active layer; ``label`` is
    ``active`` or `tree_label` of the snapshot's ID. L1 offset in bytes, size in entries;
    ``disk_size`` in bytes. An unusable tree has an L1 table that cannot be read where the image
    says it is. Entries behind the disk are VM state where the tree ``holds_vm_state``: in a
    snapshot, and in the active layer of an image with such a snapshot, where old versions of QEMU
    leave it.
    """

    index: int | None
    label: str
    l1_offset: int
    l1_size: int
    disk_size: int
    usable: bool
    holds_vm_state: bool

    @property
    def is_active(self) -> bool:
        """Whether this is the disk as the guest sees it now."""
        return self.index is None

    @property
    def is_blank(self) -> bool:
        """Whether the record of the snapshot is lost: zeros, as behind the end of the file."""
        return not (self.is_active or self.label or self.l1_size or self.l1_offset)

    @property
    def l1_end(self) -> int:
        """File offset behind the L1 table, in bytes."""
        return self.l1_offset + 8 * self.l1_size

    def entries_inside(self, l1_index: int, geometry: Geometry) -> int:
        """How many entries of the L2 table at ``l1_index`` lie inside the virtual disk.

        VM state counts as inside.
        """
        behind = l1_index >= geometry.l1_entries_for(self.disk_size)
        if behind:
            return geometry.l2_entries if self.holds_vm_state else 0
        left = geometry.clusters(self.disk_size - l1_index * geometry.l1_span)
        return min(left, geometry.l2_entries)


def tree_label(record_id: bytes) -> str:
    """What the tree of a snapshot is called in findings: its ID, cut to a bearable length."""
    # A character has four bytes at most: what lies behind so many is not shown.
    label = record_id[: 4 * _LONGEST_LABEL + 4].decode("utf-8", "backslashreplace")
    return label if len(label) <= _LONGEST_LABEL else f"{label[: _LONGEST_LABEL - 1]}…"


def trees_of(image: Image) -> list[Tree]:
    """The active layer and the snapshots, in the order in which QEMU walks them."""
    header, geometry = image.header, image.geometry
    active = Tree(
        index=None,
        label=ACTIVE,
        l1_offset=header.l1_table_offset,
        l1_size=header.l1_size,
        disk_size=header.size,
        usable=_is_usable(geometry, header.l1_table_offset, header.l1_size),
        holds_vm_state=any(e.record.vm_state_size for e in image.snapshot_table.entries),
    )
    entries = image.snapshot_table.entries
    return [active, *(_snapshot_tree(entry, header, geometry) for entry in entries)]


def _snapshot_tree(entry: SnapshotEntry, header: Header, geometry: Geometry) -> Tree:
    record = entry.record
    size = record.disk_size
    return Tree(
        index=entry.position,
        label=tree_label(record.id),
        l1_offset=record.l1_table_offset,
        l1_size=record.l1_size,
        disk_size=header.size if size is None else size,
        usable=_is_usable(geometry, record.l1_table_offset, record.l1_size),
        holds_vm_state=True,
    )


def _is_usable(geometry: Geometry, offset: int, entries: int) -> bool:
    return (
        geometry.is_aligned(offset)
        and entries <= MAX_L1_ENTRIES
        and offset + 8 * entries <= MAX_READABLE_OFFSET
    )
