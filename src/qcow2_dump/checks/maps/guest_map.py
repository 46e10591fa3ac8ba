"""The disk of the active layer, from its start to its end: what each part of it is mapped to."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from qcow2_dump.checks.maps.guest_class import GuestClass
from qcow2_dump.checks.maps.host_classes import HostClasses
from qcow2_dump.checks.maps.runs import DAMAGED, ClassRuns, RunCollector
from qcow2_dump.checks.trees import Tree
from qcow2_dump.image.extents import NO_HOST, Runs, merge_runs
from qcow2_dump.image.guest import tree_extents
from qcow2_dump.image.guest_tree import disk_end
from qcow2_dump.image.image import Image
from qcow2_dump.image.problems import MappingProblem
from qcow2_dump.ondisk.constants import SECTOR_SIZE
from qcow2_dump.ondisk.mapping import ClusterType

__all__ = ["Fragmentation", "GuestExtents", "GuestMap", "map_guest"]

# A run of at least so many clusters is compared with the host's classes by itself.
_LONG = 256
# Where a run may end: subclusters are never smaller than a sector.
_UNIT = SECTOR_SIZE

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
    pieces = (
        Runs(
            batch.start,
            batch.length,
            batch.host,
            batch.type.astype(np.int64) << 8 | batch.problem,
        )
        for batch in tree_extents(image, tree, end=limit)
    )
    for runs in merge_runs(pieces):
        walk.take(runs)
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

    def take(self, runs: Runs) -> None:
        """Add some runs, which follow those before."""
        guest = _OF_TYPE[runs.code >> 8]
        guest[(runs.code & 0xFF) != MappingProblem.NONE] = GuestClass.UNREADABLE | DAMAGED
        self.end = int(runs.start[-1] + runs.length[-1])
        data = (guest == GuestClass.DATA) & (runs.host != NO_HOST)
        self._note_pieces(runs, data)
        if self._classes is None or not data.any():
            self._add(runs.length, guest)
            return
        at = 0
        long = np.flatnonzero(data & (runs.length >= _LONG << self._bits)).tolist()
        for position in long:
            self._add_short(runs.take(slice(at, position)), guest[at:position], self._classes)
            host, length = int(runs.host[position]), int(runs.length[position])
            self._add_long(host, length, self._classes)
            at = position + 1
        self._add_short(runs.take(slice(at, None)), guest[at:], self._classes)

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

    def _note_pieces(self, runs: Runs, data: NDArray[np.bool_]) -> None:
        self.fragmentation.add(runs.length[data])
        if self._extents is None:
            return
        self._listed += int(np.count_nonzero(data))
        if self._listed > self._most_extents:
            self._extents = None
            return
        columns = (getattr(runs, name)[data] for name in ("start", "length", "host", "code"))
        self._extents.append(Runs(*columns))

    def _add_long(self, host: int, length: int, classes: HostClasses) -> None:
        """A long piece of data, which most often is of one class."""
        first, last = host >> self._bits, (host + length - 1) >> self._bits
        found = classes.between(first, last + 1)
        if (found == found[0]).all():
            self._add(np.array([length], dtype=np.int64), found[:1])
            return
        edges = np.arange(first + 1, last + 1, dtype=np.int64) << self._bits
        self._add(np.diff(edges, prepend=host, append=host + length), found)

    def _add_short(self, runs: Runs, guest: NDArray[np.uint8], classes: HostClasses) -> None:
        """Pieces of any kind, of which data is cut at the clusters of the file."""
        if not len(runs):
            return
        data = (guest == GuestClass.DATA) & (runs.host != NO_HOST)
        first = np.where(data, runs.host >> self._bits, 0)
        last = np.where(data, (runs.host + runs.length - 1) >> self._bits, 0)
        if (first == last).all():
            guest[data] = classes.of(first[data])
            self._add(runs.length, guest)
            return
        number = last - first + 1
        begin = np.cumsum(number) - number
        cluster = np.arange(int(number.sum())) + np.repeat(first - begin, number)
        kind, mapped = np.repeat(guest, number), np.repeat(data, number)
        kind[mapped] = classes.of(cluster[mapped])
        # Only where the class changes, or a run begins, there is anything to tell.
        head = np.ones(len(kind), dtype=np.bool_)
        np.not_equal(kind[1:], kind[:-1], out=head[1:])
        head[begin] = True
        heads = np.flatnonzero(head)
        row = np.searchsorted(begin, heads, side="right") - 1
        start = runs.start[row] + np.where(
            heads == begin[row], 0, (cluster[heads] << self._bits) - runs.host[row]
        )
        end = int(runs.start[-1] + runs.length[-1])
        self._add(np.diff(start, append=end), kind[heads])

    def _add(self, length: NDArray[np.int64], values: NDArray[np.uint8]) -> None:
        """Add runs whose class is known: lengths in bytes."""
        units = length // _UNIT
        self.damaged += int(units[values >= DAMAGED].sum())
        kinds = values & ~np.uint8(DAMAGED)
        held = np.bincount(kinds, weights=units, minlength=len(GuestClass))
        self.sums += held.astype(np.int64)
        self.collector.add(units, values)
