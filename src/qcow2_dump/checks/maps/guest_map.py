"""The disk of the active layer, from its start to its end: what each part of it is mapped to."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qcow2_dump.checks.maps.class_values import DAMAGED, count_values
from qcow2_dump.checks.maps.data_pieces import DataPieces, Fragmentation, GuestExtents
from qcow2_dump.checks.maps.guest_class import GuestClass
from qcow2_dump.checks.maps.host_classes import ClassPieces, HostClasses
from qcow2_dump.checks.maps.runs import ClassRuns, RunCollector
from qcow2_dump.checks.trees import Tree
from qcow2_dump.image.extents import NO_HOST, ExtentBatch
from qcow2_dump.image.guest import tree_pieces
from qcow2_dump.image.guest_tree import disk_end
from qcow2_dump.image.image import Image
from qcow2_dump.image.plain_clusters import PlainClusters
from qcow2_dump.image.problems import MappingProblem
from qcow2_dump.ondisk.constants import SECTOR_SIZE
from qcow2_dump.ondisk.mapping import ClusterType

__all__ = ["GuestMap", "map_guest"]

# Where a run may end: subclusters are never smaller than a sector.
_UNIT = SECTOR_SIZE
_UNIT_BITS = _UNIT.bit_length() - 1


@dataclass(frozen=True, slots=True)
class GuestMap:
    """The guest's disk as runs of `GuestClass`.

    ``size`` is that of the disk in bytes, ``sums`` the bytes of each class (int64, by class),
    ``damaged`` the bytes that are unreadable, or of any class in a damaged cluster.
    ``extents`` says where the data lies, None where there are too many pieces to list.
    """

    size: int
    runs: ClassRuns
    sums: NDArray[np.int64]
    damaged: int
    fragmentation: Fragmentation
    extents: GuestExtents | None


def map_guest(
    image: Image,
    tree: Tree,
    host_classes: HostClasses | None,
    *,
    most_runs: int,
    most_extents: int,
    limit: int | None = None,
) -> GuestMap:
    """Walk a tree once, in memory that does not grow with the disk.

    ``host_classes`` says of each host cluster what its data is to the guest; None where guest data
    lies in another file.
    What lies behind the guest offset ``limit`` (bytes) is not looked at. Raises SourceError when
    the L1 table cannot be read at all.
    """
    walk = _Walk(image, host_classes, most_extents)
    scattered = host_classes is not None and host_classes.are_scattered
    for piece in tree_pieces(image, tree, end=limit, by_clusters=scattered):
        if isinstance(piece, PlainClusters):
            walk.take_clusters(piece)
        else:
            walk.take(piece)
    walk.leave_out(disk_end(tree))
    return GuestMap(
        size=walk.end,
        runs=walk.collector.runs(most_runs),
        sums=walk.sums * _UNIT,
        damaged=walk.damaged * _UNIT,
        fragmentation=walk.pieces.fragmentation,
        extents=walk.pieces.extents(),
    )


_OF_TYPE = np.zeros(8, dtype=np.uint8)
_OF_TYPE[[ClusterType.ZERO_PLAIN, ClusterType.ZERO_ALLOC]] = GuestClass.ZERO
_OF_TYPE[ClusterType.NORMAL] = GuestClass.DATA
_OF_TYPE[ClusterType.COMPRESSED] = GuestClass.COMPRESSED


class _Walk:
    """What is gathered from run to run."""

    def __init__(self, image: Image, host_classes: HostClasses | None, most_extents: int) -> None:
        self._bits = image.geometry.cluster_bits
        self._classes = host_classes
        self.collector = RunCollector(_UNIT)
        self.sums = np.zeros(len(GuestClass), dtype=np.int64)
        self.damaged = 0
        self.pieces = DataPieces(most_extents)
        self.end = 0

    def take(self, batch: ExtentBatch) -> None:
        """Gather what some extents are, which follow those before."""
        self.end = batch.end
        guest = _OF_TYPE[batch.type]
        guest[batch.problem != MappingProblem.NONE] = GuestClass.UNREADABLE | DAMAGED
        data = np.flatnonzero((guest == GuestClass.DATA) & (batch.host != NO_HOST))
        found = GuestExtents(batch.start[data], batch.host[data], batch.length[data])
        self.pieces.take(found)
        if self._classes is None or not len(data):
            self._add(batch.length, guest)
            return
        first, last = found.host, found.host + found.length - 1
        pieces = self._classes.pieces(first >> self._bits, last >> self._bits)
        guest[data] = pieces.values
        if len(pieces.more_values):
            self._add(*_with_more_pieces(batch, data, guest, pieces, self._bits))
        else:
            self._add(batch.length, guest)

    def take_clusters(self, clusters: PlainClusters) -> None:
        """The same for some clusters."""
        if self._classes is None:
            self.take(clusters.extents())
            return
        self.end = clusters.end
        self.pieces.take_clusters(clusters)
        values = self._classes.of(clusters.host >> self._bits)
        values *= clusters.placed.view(np.uint8)  # UNALLOCATED is 0
        if int(values.min()) == int(values.max()):
            self._add(np.array([self.end - clusters.start], dtype=np.int64), values[:1])
            return
        units = clusters.size >> _UNIT_BITS
        held = np.zeros(2 * DAMAGED, dtype=np.int64)
        numbers = count_values(values)
        held[list(numbers)] = list(numbers.values())
        self._count(held * units)
        self.collector.add_alike(units, values, numbers)

    def leave_out(self, end: int) -> None:
        """The rest of the disk, up to a guest offset, is not looked at."""
        if end > self.end:
            rest = np.array([end - self.end], dtype=np.int64)
            self._add(rest, np.array([GuestClass.UNKNOWN], dtype=np.uint8))
            self.end = end

    def _add(self, length: NDArray[np.int64], values: NDArray[np.uint8]) -> None:
        """Add runs whose class is known: lengths in bytes."""
        units = length >> _UNIT_BITS
        held = np.bincount(values, weights=units, minlength=2 * DAMAGED).astype(np.int64)
        self._count(held)
        self.collector.add(units, values)

    def _count(self, held: NDArray[np.int64]) -> None:
        """Add to the sums: units by value, with `DAMAGED` or not."""
        of_classes = held.reshape(2, DAMAGED)[:, : len(GuestClass)]
        self.sums += of_classes.sum(axis=0)
        self.damaged += int(of_classes[1].sum())


def _with_more_pieces(
    batch: ExtentBatch,
    data: NDArray[np.int64],
    guest: NDArray[np.uint8],
    pieces: ClassPieces,
    cluster_bits: int,
) -> tuple[NDArray[np.int64], NDArray[np.uint8]]:
    """The lengths (bytes) and classes of extents of which those of ``data`` are cut in pieces.

    ``guest`` are the classes with which the extents begin. Other pieces begin with a cluster.
    """
    more = np.zeros(len(guest), dtype=np.int64)
    more[data] = pieces.more
    # Each extent comes behind those before it and behind all of their pieces.
    place = np.arange(len(guest)) + np.cumsum(more) - more
    among = np.arange(1, len(pieces.more_values) + 1)
    among += np.repeat(place[data] - np.cumsum(pieces.more) + pieces.more, pieces.more)
    start = np.empty(len(guest) + len(among), dtype=np.int64)
    start[place] = batch.start
    start[among] = np.repeat(batch.start[data] - batch.host[data], pieces.more)
    start[among] += pieces.more_clusters << cluster_bits
    values = np.empty(len(start), dtype=np.uint8)
    values[place] = guest
    values[among] = pieces.more_values
    return np.diff(start, append=batch.end), values
