"""The disk of the active layer, from its start to its end: what each part of it is mapped to."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from qcow2_dump.checks.maps.guest_class import GuestClass
from qcow2_dump.checks.maps.host_classes import ClassPieces, HostClasses
from qcow2_dump.checks.maps.runs import DAMAGED, ClassRuns, RunCollector
from qcow2_dump.checks.trees import Tree
from qcow2_dump.image.extents import NO_HOST, ExtentBatch, Runs, merge_runs
from qcow2_dump.image.guest import tree_extents
from qcow2_dump.image.guest_tree import disk_end
from qcow2_dump.image.image import Image
from qcow2_dump.image.problems import MappingProblem
from qcow2_dump.ondisk.constants import SECTOR_SIZE
from qcow2_dump.ondisk.mapping import ClusterType

__all__ = ["Fragmentation", "GuestExtents", "GuestMap", "map_guest"]

# Where a run may end: subclusters are never smaller than a sector.
_UNIT = SECTOR_SIZE
_UNIT_BITS = _UNIT.bit_length() - 1

_HISTOGRAM = 64


@dataclass(frozen=True, slots=True)
class GuestExtents:
    """Contiguous pieces of uncompressed data, in guest order; int64 arrays of one length.

    All in bytes: where each starts on the guest's disk and in the file, and how long it is.
    """

    guest: NDArray[np.int64]
    host: NDArray[np.int64]
    length: NDArray[np.int64]


@dataclass(slots=True)
class Fragmentation:
    """In how many pieces the uncompressed data of the active layer lies.

    ``pieces`` are contiguous both on the disk and in the file; ``largest`` and ``data`` in bytes.
    ``by_size[n]`` are the pieces of at least ``2 ** n`` bytes and less than twice that (int64).
    """

    pieces: int = 0
    data: int = 0
    largest: int = 0
    by_size: NDArray[np.int64] = field(default_factory=lambda: np.zeros(_HISTOGRAM, dtype=np.int64))

    def add(self, length: NDArray[np.int64]) -> None:
        """Count some pieces, by their lengths in bytes."""
        if not len(length):
            return
        self.pieces += len(length)
        self.data += int(length.sum())
        self.largest = max(self.largest, int(length.max()))
        exponent = np.frexp(length.astype(np.float64))[1] - 1
        self.by_size += np.bincount(exponent, minlength=_HISTOGRAM)


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
    for runs in merge_runs(walk.runs(tree_extents(image, tree, end=limit))):
        walk.note_pieces(runs)
    walk.leave_out(disk_end(tree))
    return GuestMap(
        size=walk.end,
        runs=walk.collector.runs(most_runs),
        sums=walk.sums * _UNIT,
        damaged=walk.damaged * _UNIT,
        fragmentation=walk.fragmentation,
        extents=walk.extents(),
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
        self._most_extents = most_extents
        self._extents: list[Runs] | None = []
        self._listed = 0
        self.collector = RunCollector(_UNIT)
        self.sums = np.zeros(len(GuestClass), dtype=np.int64)
        self.damaged = 0
        self.fragmentation = Fragmentation()
        self.end = 0

    def runs(self, batches: Iterable[ExtentBatch]) -> Iterator[Runs]:
        """Gather what some extents, which follow those before, are; data comes out as runs."""
        for batch in batches:
            self._take(batch)
            plain = (batch.type == ClusterType.NORMAL) & (batch.problem == MappingProblem.NONE)
            data = np.flatnonzero(plain & (batch.host != NO_HOST))
            start, host = batch.start[data], batch.host[data]
            # What follows each other in the file does so on the disk where the distance stays.
            yield Runs(start, batch.length[data], host, start - host)

    def _take(self, batch: ExtentBatch) -> None:
        self.end = batch.end
        guest = _OF_TYPE[batch.type]
        guest[batch.problem != MappingProblem.NONE] = GuestClass.UNREADABLE | DAMAGED
        data = np.flatnonzero((guest == GuestClass.DATA) & (batch.host != NO_HOST))
        if self._classes is None or not len(data):
            self._add(batch.length, guest)
            return
        host = batch.host[data]
        pieces = self._classes.pieces(
            host >> self._bits, (host + batch.length[data] - 1) >> self._bits
        )
        guest[data] = pieces.values
        if len(pieces.more_values):
            self._add(*_with_more_pieces(batch, data, guest, pieces, self._bits))
        else:
            self._add(batch.length, guest)

    def leave_out(self, end: int) -> None:
        """The rest of the disk, up to a guest offset, is not looked at."""
        if end > self.end:
            rest = np.array([end - self.end], dtype=np.int64)
            self._add(rest, np.array([GuestClass.UNKNOWN], dtype=np.uint8))
            self.end = end

    def extents(self) -> GuestExtents | None:
        """The pieces of data, unless they were too many."""
        if self._extents is None:
            return None
        none = [np.zeros(0, dtype=np.int64)]
        columns = (
            np.concatenate([*none, *(getattr(runs, name) for runs in self._extents)])
            for name in ("start", "host", "length")
        )
        return GuestExtents(*columns)

    def note_pieces(self, runs: Runs) -> None:
        """Count the pieces of data, and list them while they are few; runs in guest order."""
        self.fragmentation.add(runs.length)
        if self._extents is None:
            return
        self._listed += len(runs)
        if self._listed > self._most_extents:
            self._extents = None
            return
        self._extents.append(runs)

    def _add(self, length: NDArray[np.int64], values: NDArray[np.uint8]) -> None:
        """Add runs whose class is known: lengths in bytes."""
        units = length >> _UNIT_BITS
        held = np.bincount(values, weights=units, minlength=2 * DAMAGED).astype(np.int64)
        held = held.reshape(2, DAMAGED)[:, : len(GuestClass)]
        self.sums += held.sum(axis=0)
        self.damaged += int(held[1].sum())
        self.collector.add(units, values)


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
