"""Guest data copied to new clusters, in a draft."""

import itertools
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from qcow2_dump.checks.facts import CheckFacts
from qcow2_dump.errors import UnsafePlanError
from qcow2_dump.ondisk.constants import SECTOR_SIZE
from qcow2_dump.ondisk.mapping import L2_OFFSET_MASK, CompressedDescriptor
from qcow2_dump.plan.model import Field
from qcow2_dump.planners.allocator import Allocator
from qcow2_dump.planners.draft import Draft, Stage

__all__ = ["Copier"]

# A damaged image shares some clusters; one that would need more than this is not merely damaged.
_MOST_BYTES = 1 << 36
# New clusters asked for at a time, where they come from the end of the file.
_MANY = 4096
_PIECE = 1 << 20


class Copier:
    """Puts copies into a draft; ``clusters`` and ``ranges`` count what was copied so far."""

    def __init__(self, draft: Draft, facts: CheckFacts, allocator: Allocator) -> None:
        self._draft = draft
        self._facts = facts
        self._allocator = allocator
        self._given = 0
        self._end = (-1, -1)
        self.clusters = 0
        self.ranges = 0

    def room(self, clusters: int) -> Iterator[int]:
        """The host offsets in bytes of so many new clusters.

        Raises UnsafePlanError when there is no room, or when it would be far too much.
        """
        bits = self._facts.space.cluster_bits
        self._given += clusters
        if self._given << bits > _MOST_BYTES:
            raise UnsafePlanError(
                f"copies of more than {_MOST_BYTES >> 30} GiB would be needed to give every owner "
                "of the shared clusters its own"
            )
        left, many = clusters, 1
        while left:
            number = min(left, many)
            first = self._take(number)
            yield from range(first, first + (number << bits), 1 << bits)
            left -= number
            # Inside of the file, clusters that are free lie scattered.
            many = _MANY if first >= self._facts.space.end else 1

    def copy_clusters(self, clusters: NDArray[np.int64]) -> NDArray[np.int64]:
        """Copy some host clusters (int64, ascending, may repeat): the offsets of the copies."""
        size, bits = self._facts.space.cluster_size, self._facts.space.cluster_bits
        copies = np.fromiter(self.room(len(clusters)), dtype=np.int64, count=len(clusters))
        apart = (np.diff(clusters) != 1) | (np.diff(copies) != size)
        bounds = [0, *(np.flatnonzero(apart) + 1).tolist(), len(clusters)]
        step = max(1, _PIECE >> bits)
        for start, end in itertools.pairwise(bounds):
            for at in range(start, end, step):
                length = min(step, end - at) << bits
                self._copy(int(clusters[at]) << bits, int(copies[at]), length)
        self.clusters += len(clusters)
        return copies

    def copy_stream(self, raw: int) -> int:
        """Copy a compressed stream: its entry with the new place."""
        bits = self._facts.space.cluster_bits
        stream = CompressedDescriptor.unpack(raw, bits)
        within = stream.offset % SECTOR_SIZE
        number = -(-(within + stream.length) >> bits)
        self._given += number
        offset = self._take(number) + within
        mask = (1 << 70 - bits) - 1
        if offset > mask:
            raise UnsafePlanError("the end of the file is too far away for a compressed cluster")
        self._copy(stream.offset, offset, stream.length)
        self.clusters += number
        return raw & ~mask | offset

    def _take(self, clusters: int) -> int:
        offset = self._allocator.allocate(clusters)
        end = offset + (clusters << self._facts.space.cluster_bits)
        if end - 1 > L2_OFFSET_MASK | SECTOR_SIZE - 1:
            raise UnsafePlanError("the end of the file is too far away for an entry to name it")
        return offset

    def _copy(self, source: int, target: int, length: int) -> None:
        data = self._facts.image.source.read(source, length)
        field = Field("data", target, unit_bits=0)
        self._draft.put(Stage.NEW, target, data, field, "reuse.data")
        self.ranges += self._end != (source, target)
        self._end = (source + length, target + length)
