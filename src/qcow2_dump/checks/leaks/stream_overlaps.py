"""Compressed streams that overlap: one of them was moved there by damage.

Streams may share clusters, and the last sector of one is the first of the next, but no byte
belongs to two. A stream that was moved leaves leaked clusters behind.
"""

import numpy as np
from numpy.typing import NDArray

from qcow2_dump.checks.facts import CheckFacts
from qcow2_dump.checks.tables.l2_batches import L2Batch, read_l2_batches
from qcow2_dump.ondisk import arrays
from qcow2_dump.ondisk.mapping import EntryFlag

__all__ = ["overlapping_streams"]

# Streams compared: an image with more is not examined, as their places would fill the memory.
_MOST_STREAMS = 1 << 22
_COMPRESSED = np.uint64(int(EntryFlag.COMPRESSED))
_SECTOR = np.uint64(511)


def overlapping_streams(facts: CheckFacts) -> int:
    """How many compressed streams begin inside another one, of another guest address."""
    number = int(facts.tables.compressed.sum())
    if not number or number > _MOST_STREAMS or facts.image.header.has_data_file:
        return 0
    batches = read_l2_batches(facts.image.source, facts.image.geometry, facts.tables)
    start, last, guest = np.concatenate([_streams(facts, batch) for batch in batches], axis=1)
    order = np.lexsort((guest, last, start))
    start, last, guest = start[order], last[order], guest[order]
    # One stream for all the trees that have it.
    fresh = np.diff(start).astype(np.bool_) | np.diff(last).astype(np.bool_)
    fresh |= np.diff(guest).astype(np.bool_)
    inside = (start[1:] <= last[:-1]) | (start[1:] == start[:-1])
    return int(np.count_nonzero(inside & fresh))


def _streams(facts: CheckFacts, batch: L2Batch) -> NDArray[np.uint64]:
    """The streams of a batch: first byte, first byte of the last sector, guest offset."""
    geometry, space = facts.image.geometry, facts.space
    row, column = np.nonzero((batch.entries & _COMPRESSED) != 0)
    start, length = arrays.compressed_extents(batch.entries[row, column], geometry.cluster_bits)
    index = facts.tables.l1_index[batch.tables[row]]
    guest = index * geometry.l1_span + ((batch.first + column) << geometry.cluster_bits)
    # A stream of one sector may end anywhere behind its start.
    last = np.maximum((start + length - np.uint64(1)) & ~_SECTOR, start)
    counted = start + length < np.uint64(space.end + space.cluster_size)
    return np.stack([start, last, guest.view(np.uint64)])[:, counted]
