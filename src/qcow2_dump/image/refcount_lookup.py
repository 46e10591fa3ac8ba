"""The stored refcount of one host cluster (format section 4), without reading the others."""

from dataclasses import dataclass

from qcow2_dump.errors import SourceError
from qcow2_dump.image.image import Image
from qcow2_dump.ondisk.constants import MAX_READABLE_OFFSET, MAX_REFCOUNT_TABLE_BYTES
from qcow2_dump.ondisk.mapping import REFCOUNT_TABLE_OFFSET_MASK
from qcow2_dump.ondisk.refcounts import get_refcount

__all__ = ["StoredRefcount", "stored_refcount"]


@dataclass(frozen=True, slots=True)
class StoredRefcount:
    """The refcount of a host cluster as stored, None where its block cannot be read.

    ``place`` is the file offset of the byte in which it starts, None where there is no block and
    the refcount therefore 0.
    """

    cluster: int
    value: int | None
    place: int | None = None


def stored_refcount(image: Image, cluster: int) -> StoredRefcount:
    """Look up the refcount of a host cluster as QEMU does."""
    geometry, header = image.geometry, image.header
    index, within = divmod(cluster, geometry.refcounts_per_block)
    table = header.refcount_table_offset
    length = header.refcount_table_clusters * geometry.cluster_size
    usable = length <= MAX_REFCOUNT_TABLE_BYTES and geometry.is_aligned(table)
    if not usable or table + length > MAX_READABLE_OFFSET:
        return StoredRefcount(cluster, None)
    if 8 * index >= length:
        return StoredRefcount(cluster, 0)
    try:
        entry = int.from_bytes(image.source.read(table + 8 * index, 8), "big")
        block = entry & REFCOUNT_TABLE_OFFSET_MASK
        if block == 0:
            return StoredRefcount(cluster, 0)
        if not geometry.is_aligned(block) or block > MAX_READABLE_OFFSET - geometry.cluster_size:
            return StoredRefcount(cluster, None)
        skipped, bit = divmod(within * geometry.refcount_bits, 8)
        width = max(1, geometry.refcount_bits // 8)
        data = image.source.read(block + skipped, width)
    except SourceError:
        return StoredRefcount(cluster, None)
    value = get_refcount(data, bit // geometry.refcount_bits, geometry.refcount_order)
    return StoredRefcount(cluster, value, block + skipped)
