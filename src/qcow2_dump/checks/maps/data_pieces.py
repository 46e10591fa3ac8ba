"""In how many pieces the data of a disk lies, and where these are while they are few."""

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from qcow2_dump.checks.maps.powers import exponents
from qcow2_dump.image.plain_clusters import PlainClusters

__all__ = ["DataPieces", "Fragmentation", "GuestExtents"]

_HISTOGRAM = 64


@dataclass(frozen=True, slots=True)
class GuestExtents:
    """Contiguous pieces of uncompressed data, in guest order; int64 arrays of one length.

    All in bytes: where each starts on the guest's disk and in the file, and how long it is.
    """

    guest: NDArray[np.int64]
    host: NDArray[np.int64]
    length: NDArray[np.int64]

    def joined(self) -> "GuestExtents":
        """The same with neighbours made one that follow each other on the disk and in the file."""
        if not len(self.guest):
            return self
        head = np.ones(len(self.guest), dtype=np.bool_)
        np.not_equal(self.guest[1:], self.guest[:-1] + self.length[:-1], out=head[1:])
        head[1:] |= self.host[1:] != self.host[:-1] + self.length[:-1]
        heads = np.flatnonzero(head)
        length = np.add.reduceat(self.length, heads)
        return GuestExtents(self.guest[heads], self.host[heads], length)


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
        self.by_size += np.bincount(exponents(length), minlength=_HISTOGRAM)

    def add_alike(self, number: int, length: int) -> None:
        """Count so many pieces of one length in bytes."""
        if number:
            self.pieces += number
            self.data += number * length
            self.largest = max(self.largest, length)
            self.by_size[length.bit_length() - 1] += number

    def join(self, first: int, second: int) -> None:
        """Make one of two pieces that were counted, by their lengths in bytes."""
        self.pieces -= 1
        for length, change in ((first, -1), (second, -1), (first + second, 1)):
            self.by_size[length.bit_length() - 1] += change
        self.largest = max(self.largest, first + second)


class _Piece(NamedTuple):
    """Where a piece starts on the disk and in the file, and how long it is: bytes."""

    guest: int
    host: int
    length: int

    @property
    def end(self) -> tuple[int, int]:
        return self.guest + self.length, self.host + self.length


class DataPieces:
    """Takes the pieces of data of a disk in guest order; those that follow each other are one.

    Among the pieces that are given together none goes on where the one before it ends.
    """

    def __init__(self, most: int) -> None:
        """``most`` is how many pieces may be listed."""
        self.fragmentation = Fragmentation()
        self._most = most
        self._listed: list[GuestExtents] | None = []
        self._last: _Piece | None = None

    def take(self, found: GuestExtents) -> None:
        """Add some pieces."""
        if not len(found.guest):
            return
        columns = found.guest, found.host, found.length
        self.fragmentation.add(found.length)
        self._follow(*(_Piece(*(int(column[row]) for column in columns)) for row in (0, -1)))
        if self._listed is not None:
            self._listed.append(found)

    def take_clusters(self, clusters: PlainClusters) -> None:
        """Add the data of some clusters."""
        begins = clusters.heads & clusters.placed
        ends = np.append(clusters.heads[1:], True) & clusters.placed
        number = int(np.count_nonzero(begins))
        if not number:
            return
        alone = begins & ends
        alike = int(np.count_nonzero(alone))
        if self._listed is None and 2 * alike > number:
            # Where data is scattered most pieces are single clusters, and counting is quick.
            self.fragmentation.add_alike(alike, clusters.size)
            first, last = (np.flatnonzero(bounds & ~alone) for bounds in (begins, ends))
            self.fragmentation.add((last - first + 1) * clusters.size)
        else:
            first, length = _pieces(clusters)
            self.fragmentation.add(length)
            if self._listed is not None:
                guest, host = clusters.start + first * clusters.size, clusters.host[first]
                self._listed.append(GuestExtents(guest, host, length))
        bounds = begins.tobytes(), ends.tobytes()
        self._follow(
            _piece(clusters, *(flags.find(1) for flags in bounds)),
            _piece(clusters, *(flags.rfind(1) for flags in bounds)),
        )

    def extents(self) -> GuestExtents | None:
        """All pieces, unless they were too many."""
        if self._listed is None:
            return None
        none = [np.zeros(0, dtype=np.int64)]
        columns = (
            np.concatenate([*none, *(getattr(found, name) for found in self._listed)])
            for name in ("guest", "host", "length")
        )
        return GuestExtents(*columns).joined()

    def _follow(self, first: _Piece, last: _Piece) -> None:
        """Join the first piece of some with the one before it; the last may go on."""
        before = self._last
        self._last = last
        if before is not None and before.end == (first.guest, first.host):
            self.fragmentation.join(before.length, first.length)
            if first == last:
                self._last = before._replace(length=before.length + first.length)
        if self.fragmentation.pieces > self._most:
            self._listed = None


def _pieces(clusters: PlainClusters) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The pieces of data among some clusters: the position of the first, and length in bytes."""
    heads = np.flatnonzero(clusters.heads)
    data = clusters.placed[heads]
    length = np.diff(heads, append=len(clusters.host))[data]
    length *= clusters.size
    return heads[data], length


def _piece(clusters: PlainClusters, first: int, last: int) -> _Piece:
    """The piece from one of the clusters to another, both included."""
    size = clusters.size
    guest = clusters.start + first * size
    return _Piece(guest, int(clusters.host[first]), (last - first + 1) * size)
