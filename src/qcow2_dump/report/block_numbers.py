"""Which clusters a refcount block counts: known from the tables that point to it, old and new."""

import numpy as np
from numpy.typing import NDArray

from qcow2_dump.errors import Qcow2Error
from qcow2_dump.image.image import Image
from qcow2_dump.ondisk import arrays
from qcow2_dump.ondisk.constants import MAX_REFCOUNT_TABLE_BYTES
from qcow2_dump.plan.model import Plan
from qcow2_dump.plan.overlay import OverlaySource

__all__ = ["BlockNumbers"]


class BlockNumbers:
    """Finds the cluster that the first refcount of a block stands for.

    ``image`` is the image as it was found, None where it is none: then nothing is known.
    """

    def __init__(self, image: Image | None, plan: Plan) -> None:
        self._tables: list[NDArray[np.uint64]] = []
        self._found: dict[int, int | None] = {}
        self._per_block = 0
        if image is None:
            return
        self._per_block = image.geometry.refcounts_per_block
        for source in (image.source, OverlaySource(image.source, plan)):
            try:
                seen = Image(source, any_feature=True)
                header = seen.header
                length = header.refcount_table_clusters * header.cluster_size
                inside = max(0, source.size - header.refcount_table_offset)
                length = min(length, inside, MAX_REFCOUNT_TABLE_BYTES) // 8 * 8
                raw = arrays.decode_u64(source.read(header.refcount_table_offset, length))
            except Qcow2Error:
                continue
            self._tables.append(arrays.refcount_table_offsets(raw))

    def first_cluster(self, block: int) -> int | None:
        """The host cluster of the first refcount of the block at a file offset, if known."""
        if block not in self._found:
            self._found[block] = self._look_up(block)
        return self._found[block]

    def _look_up(self, block: int) -> int | None:
        for table in self._tables:
            places = np.flatnonzero(table == np.uint64(block))
            if len(places):
                return int(places[0]) * self._per_block
        return None
