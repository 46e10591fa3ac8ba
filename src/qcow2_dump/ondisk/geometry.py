"""Numbers that follow from the cluster size, the refcount width and the kind of L2 entries."""

from typing import NamedTuple

from qcow2_dump.ondisk.constants import DEFAULT_REFCOUNT_ORDER, SECTOR_SIZE


class Geometry(NamedTuple):
    """The derived numbers of an image (format section 2.1).

    ``cluster_bits`` is 9..21, ``refcount_order`` 0..6. Sizes and offsets are bytes unless
    said otherwise.
    """

    cluster_bits: int
    refcount_order: int = DEFAULT_REFCOUNT_ORDER
    extended_l2: bool = False

    @property
    def cluster_size(self) -> int:
        """Bytes in a cluster."""
        return 1 << self.cluster_bits

    @property
    def l2_entry_size(self) -> int:
        """Bytes of one L2 entry: 8, or 16 with a subcluster bitmap."""
        return 16 if self.extended_l2 else 8

    @property
    def l2_entries(self) -> int:
        """Entries in one L2 table."""
        return self.cluster_size // self.l2_entry_size

    @property
    def l1_span(self) -> int:
        """Guest bytes that one L1 entry covers."""
        return self.cluster_size * self.l2_entries

    @property
    def refcount_bits(self) -> int:
        """Bits of one refcount: 1, 2, 4, ... 64."""
        return 1 << self.refcount_order

    @property
    def refcount_max(self) -> int:
        """The largest refcount that fits."""
        return (1 << self.refcount_bits) - 1

    @property
    def refcounts_per_block(self) -> int:
        """Host clusters that one refcount block covers."""
        return self.cluster_size * 8 // self.refcount_bits

    @property
    def refcount_table_entries_per_cluster(self) -> int:
        """Refcount table entries in one cluster of the table."""
        return self.cluster_size // 8

    @property
    def subclusters(self) -> int:
        """Subclusters of a cluster: 32 with extended L2 entries, else 1."""
        return 32 if self.extended_l2 else 1

    @property
    def subcluster_size(self) -> int:
        """Bytes of one subcluster; the cluster size without extended L2 entries."""
        return self.cluster_size // self.subclusters

    @property
    def compressed_offset_bits(self) -> int:
        """Width of the offset in a compressed cluster descriptor, ``x`` of section 2.4."""
        return 62 - (self.cluster_bits - 8)

    def clusters(self, length: int) -> int:
        """Clusters needed for ``length`` bytes."""
        return -(-length >> self.cluster_bits)

    def l1_entries_for(self, virtual_size: int) -> int:
        """L1 entries needed to map ``virtual_size`` bytes."""
        return -(-virtual_size // self.l1_span)

    def total_clusters(self, virtual_size: int) -> int:
        """Guest clusters of a disk, of which only whole sectors count."""
        return self.clusters(virtual_size // SECTOR_SIZE * SECTOR_SIZE)

    def guest_indices(self, guest_offset: int) -> tuple[int, int]:
        """The L1 index and the L2 index that map ``guest_offset``."""
        l1_index, within = divmod(guest_offset, self.l1_span)
        return l1_index, within >> self.cluster_bits

    def guest_offset(self, l1_index: int, l2_index: int) -> int:
        """The guest offset of the cluster that this L2 entry maps."""
        return l1_index * self.l1_span + (l2_index << self.cluster_bits)

    def is_aligned(self, offset: int) -> bool:
        """Whether ``offset`` lies on a cluster boundary."""
        return offset & (self.cluster_size - 1) == 0
