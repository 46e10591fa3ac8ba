"""Guest ranges and where they lie: one at a time for readers, as arrays for millions of them."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from qcow2_dump.image.problems import MappingProblem
from qcow2_dump.ondisk.mapping import ClusterType

__all__ = ["NO_HOST", "Extent", "ExtentBatch", "Runs", "merge_runs", "overlay"]

NO_HOST = -1
"""The host offset, in arrays, of ranges that have no single place."""


@dataclass(frozen=True, slots=True)
class Extent:
    """A guest range whose parts are mapped alike; start, length and host offset in bytes.

    ``type`` is what the entries make of it (with extended L2, of its subclusters). ``zero`` says
    that it is known to read as zeros. ``host_offset`` is None where there is no single place:
    nothing is allocated, or it is compressed. An unallocated range has one where only other
    subclusters of its cluster hold data. ``depth`` 0 is the image, 1 its backing file.
    """

    start: int
    length: int
    type: ClusterType
    zero: bool
    host_offset: int | None
    depth: int
    problem: MappingProblem


@dataclass(frozen=True, slots=True)
class ExtentBatch:
    """Extents in guest order without gaps, as arrays of one length.

    ``start``, ``length`` and ``host`` (NO_HOST for None) are int64, in bytes; ``type`` and
    ``problem`` uint8, ``zero`` bool, ``depth`` int16, as in `Extent`.
    """

    start: NDArray[np.int64]
    length: NDArray[np.int64]
    host: NDArray[np.int64]
    type: NDArray[np.uint8]
    zero: NDArray[np.bool_]
    depth: NDArray[np.int16]
    problem: NDArray[np.uint8]

    @classmethod
    def make(
        cls,
        start: NDArray[np.int64],
        length: NDArray[np.int64],
        host: NDArray[np.int64],
        kind: NDArray[np.uint8],
        problem: NDArray[np.uint8],
    ) -> Self:
        """Extents of depth 0, known to read as zeros where their type says so."""
        zero = (kind == ClusterType.ZERO_PLAIN) | (kind == ClusterType.ZERO_ALLOC)
        return cls(start, length, host, kind, zero, np.zeros(len(start), np.int16), problem)

    @classmethod
    def one(
        cls, start: int, end: int, kind: ClusterType, problem: MappingProblem = MappingProblem.NONE
    ) -> Self:
        """A single extent without a place."""
        return cls.make(
            np.array([start], np.int64),
            np.array([end - start], np.int64),
            np.array([NO_HOST], np.int64),
            np.array([kind], np.uint8),
            np.array([problem], np.uint8),
        )

    def __len__(self) -> int:
        return len(self.start)

    @property
    def first(self) -> int:
        """The guest offset at which the batch starts."""
        return int(self.start[0])

    @property
    def end(self) -> int:
        """The guest offset at which the batch ends."""
        return int(self.start[-1]) + int(self.length[-1])

    def extents(self) -> Iterator[Extent]:
        """The extents one by one."""
        columns = (getattr(self, field.name).tolist() for field in fields(self))
        for start, length, host, kind, zero, depth, problem in zip(*columns, strict=True):
            place = None if host == NO_HOST else host
            yield Extent(
                start, length, ClusterType(kind), zero, place, depth, MappingProblem(problem)
            )

    def take(self, chosen: NDArray[Any] | slice) -> Self:
        """The rows that an index array, a mask or a slice chooses."""
        return type(self)(*(getattr(self, field.name)[chosen] for field in fields(self)))

    def clip(self, start: int, end: int) -> Self:
        """The part of the batch inside a guest range; empty when there is none."""
        if start <= self.first and self.end <= end:
            return self
        ends = self.start + self.length
        kept = self.take((self.start < end) & (ends > start))
        return kept.recut(np.maximum(kept.start, start), np.minimum(kept.start + kept.length, end))

    def recut(self, start: NDArray[np.int64], end: NDArray[np.int64]) -> Self:
        """The same rows with other bounds, each inside its own."""
        host = np.where(self.host == NO_HOST, NO_HOST, self.host + (start - self.start))
        return replace(self, start=start, length=end - start, host=host)


def overlay(top: ExtentBatch, through: NDArray[np.bool_], below: ExtentBatch) -> ExtentBatch:
    """The guest range of two batches: ``below`` where ``through`` (bool per row of ``top``).

    Both cover the same range. What is wrong with an entry of the top stays said.
    """
    start = np.union1d(top.start, below.start)
    end = np.append(start[1:], top.end)
    upper = np.searchsorted(top.start, start, side="right") - 1
    lower = np.searchsorted(below.start, start, side="right") - 1
    above = top.take(upper).recut(start, end)
    under = below.take(lower).recut(start, end)
    hidden = ~through[upper]
    mixed = {
        field.name: np.where(hidden, getattr(above, field.name), getattr(under, field.name))
        for field in fields(top)
    }
    mixed["problem"] = np.where(above.problem != 0, above.problem, mixed["problem"])
    return type(top)(**mixed)


@dataclass(frozen=True, slots=True)
class Runs:
    """Guest ranges with a number for each that says all there is to say but the place.

    Arrays of one length: ``start``, ``length`` and ``host`` (NO_HOST for none) in bytes, and
    ``code``, all int64.
    """

    start: NDArray[np.int64]
    length: NDArray[np.int64]
    host: NDArray[np.int64]
    code: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.start)

    def take(self, chosen: slice) -> Self:
        """Some of the runs."""
        return type(self)(*(getattr(self, field.name)[chosen] for field in fields(self)))


def merge_runs(pieces: Iterable[Runs]) -> Iterator[Runs]:
    """Join neighbours of the same code whose places, if they have any, follow each other.

    Pieces are in guest order, and the code changes where there is a gap; memory stays that of one
    piece.
    """
    last: Runs | None = None
    for piece in pieces:
        if not len(piece):
            continue
        merged = _merged(piece if last is None else _joined((last, piece)))
        last = merged.take(slice(-1, None))
        if len(merged) > 1:
            yield merged.take(slice(None, -1))
    if last is not None:
        yield last


def _merged(runs: Runs) -> Runs:
    goes_on = runs.host[:-1] + runs.length[:-1]
    goes_on[runs.host[:-1] == NO_HOST] = NO_HOST
    head = np.ones(len(runs), dtype=np.bool_)
    np.not_equal(runs.host[1:], goes_on, out=head[1:])
    head[1:] |= runs.code[1:] != runs.code[:-1]
    heads = np.flatnonzero(head)
    length = np.add.reduceat(runs.length, heads)
    return Runs(runs.start[heads], length, runs.host[heads], runs.code[heads])


def _joined(pieces: Sequence[Runs]) -> Runs:
    names = (field.name for field in fields(Runs))
    return Runs(*(np.concatenate([getattr(piece, name) for piece in pieces]) for name in names))
