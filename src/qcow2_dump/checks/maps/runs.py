"""A file or a disk as runs of classes, made coarser until there are few enough to draw.

A run keeps what most of it is, and which classes are in it at all, so that a single damaged
cluster is never lost in the crowd, however coarse the picture becomes.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from qcow2_dump.checks.maps.class_values import DAMAGED, DAMAGED_BIT
from qcow2_dump.checks.maps.dense import class_of_most, count_cells
from qcow2_dump.checks.maps.powers import exponents

__all__ = ["ClassRuns", "RunCollector"]

_CLASSES = 16

# Runs that are collected before they are made coarser, which takes some hundred bytes each. Up to
# half of them is left: more than any picture has, so that none becomes coarser than it must.
_MOST_COLLECTED = 1 << 18

# Runs that are made coarser together: what is made of them must fit the cache.
_TOGETHER = 1 << 14

# Where runs are shorter on average, in the unit of their lengths, units are counted in their place.
_DENSE = 32

# The least that a cell must have to be counted by bits, as a power of two.
_LEAST_COUNTED = 3

_ONE = np.uint16(1)


@dataclass(frozen=True, slots=True)
class ClassRuns:
    """Stretches that follow each other without gaps, from the start on; arrays of one length.

    ``length`` (int64) is in cells of ``cell_size`` bytes, the last of which may be cut short.
    ``kind`` (uint8) is the class that most of the stretch belongs to, ``mask`` (uint16) has a
    bit for each class that is in it, and `DAMAGED_BIT` where anything is damaged.
    """

    cell_size: int
    length: NDArray[np.int64]
    kind: NDArray[np.uint8]
    mask: NDArray[np.uint16]

    @classmethod
    def plain(cls, cell_size: int, length: NDArray[np.int64], values: NDArray[np.uint8]) -> Self:
        """Runs of one value each: a class, with `DAMAGED` or not. Neighbours may be alike."""
        kind = values & np.uint8(_CLASSES - 1)
        mask = _ONE << kind.astype(np.uint16)
        mask |= (values >= DAMAGED).astype(np.uint16) << np.uint16(DAMAGED_BIT)
        return cls(cell_size, length, kind, mask)

    def __len__(self) -> int:
        return len(self.length)

    def merged(self) -> Self:
        """The same with neighbours joined that are alike."""
        if not len(self):
            return self
        head = np.ones(len(self), dtype=np.bool_)
        np.not_equal(self.kind[1:], self.kind[:-1], out=head[1:])
        head[1:] |= self.mask[1:] != self.mask[:-1]
        heads = np.flatnonzero(head)
        if len(heads) == len(self):
            return self
        length = np.add.reduceat(self.length, heads)
        return type(self)(self.cell_size, length, self.kind[heads], self.mask[heads])

    def coarser(self, shift: int) -> Self:
        """The same in cells of ``1 << shift`` of these, of which the last may be cut short."""
        if not shift or not len(self):
            return self
        parts = [_coarser(self._part(*bounds), shift) for bounds in self._bounds(shift)]
        columns = (np.concatenate(column) for column in zip(*parts, strict=True))
        return type(self)(self.cell_size << shift, *columns).merged()

    def _bounds(self, shift: int) -> list[tuple[int, int]]:
        """Parts that begin with a coarse cell, small enough for the cache where that can be."""
        if len(self) <= 2 * _TOGETHER:
            return [(0, len(self))]
        ends = np.cumsum(self.length)
        whole = np.flatnonzero((ends[:-1] & ((1 << shift) - 1)) == 0) + 1
        wanted = np.searchsorted(whole, np.arange(_TOGETHER, len(self), _TOGETHER))
        cuts = [0, *sorted({*whole[wanted[wanted < len(whole)]].tolist()}), len(self)]
        return list(pairwise(cuts))

    def _part(self, first: int, end: int) -> Self:
        rows = slice(first, end)
        return type(self)(self.cell_size, self.length[rows], self.kind[rows], self.mask[rows])

    def within(self, most: int) -> Self:
        """The finest picture of at most so many runs."""
        runs = self.merged()
        while len(runs) > most:
            runs = runs.coarser(_least_shift(runs, most))
        return runs


class RunCollector:
    """Takes runs in order and keeps them in bounded memory, coarser where there are too many."""

    def __init__(self, cell_size: int) -> None:
        self._cell_size = cell_size
        self._pieces: list[ClassRuns] = []
        self._held = 0
        self._shift = 0
        self._end = 0

    def add(self, length: NDArray[np.int64], values: NDArray[np.uint8]) -> None:
        """Add runs: lengths in cells, and their values, as `ClassRuns.plain` takes them."""
        start, self._end = self._end, self._end + int(length.sum())
        # Made coarser at once where it can be: small pieces are quicker than a large one.
        if not self._shift or (start | self._end) & ((1 << self._shift) - 1) or not len(length):
            self._keep(ClassRuns.plain(self._cell_size, length, values).merged())
            return
        lowest = int(np.bitwise_or.reduce(length))
        unit_bits = (lowest & -lowest).bit_length() - 1
        units = (self._end - start) >> unit_bits
        if units <= len(length) * _DENSE and self._shift - unit_bits >= _LEAST_COUNTED:
            present = np.flatnonzero(np.bincount(values)).tolist()
            self._count(np.repeat(values, length >> unit_bits), present, unit_bits)
        else:
            self._keep_cells(ClassRuns.plain(self._cell_size, length, values).coarser(self._shift))

    def add_alike(self, length: int, values: NDArray[np.uint8], present: Iterable[int]) -> None:
        """Add runs of one length, a power of two; all values that are ``present`` are given."""
        unit_bits = length.bit_length() - 1
        end = self._end + length * len(values)
        aligned = not (self._end | end) & ((1 << self._shift) - 1)
        if aligned and self._shift - unit_bits >= _LEAST_COUNTED:
            self._end = end
            self._count(values, present, unit_bits)
            return
        heads = np.flatnonzero(np.append(True, values[1:] != values[:-1])[: len(values)])
        self.add(np.diff(heads, append=len(values)) * length, values[heads])

    def runs(self, most: int) -> ClassRuns:
        """What was collected, as at most so many runs."""
        runs = self._joined().coarser(self._shift)
        return runs.within(most)

    def _count(self, values: NDArray[np.uint8], present: Iterable[int], unit_bits: int) -> None:
        """Keep the cells of as many values, each of which is that of ``1 << unit_bits``."""
        kind, mask = count_cells(values, present, self._shift - unit_bits)
        length = np.ones(len(kind), dtype=np.int64)
        self._keep_cells(ClassRuns(self._cell_size << self._shift, length, kind, mask).merged())

    def _keep_cells(self, coarse: ClassRuns) -> None:
        """Keep runs that were made coarser; all are kept in cells of the first size."""
        length = coarse.length << self._shift
        self._keep(replace(coarse, cell_size=self._cell_size, length=length))

    def _keep(self, piece: ClassRuns) -> None:
        self._pieces.append(piece)
        self._held += len(piece)
        if self._held > _MOST_COLLECTED:
            self._thin()

    def _thin(self) -> None:
        """Make what is there coarser; it stays in cells of the first size."""
        runs = self._joined()
        thin = runs.coarser(self._shift)
        while len(thin) > (most := _MOST_COLLECTED // 2):
            shift = max(_least_shift(thin, most), (len(thin) // most).bit_length())
            self._shift += shift
            thin = thin.coarser(shift)
        length = thin.length << self._shift
        length[-1] -= int(length.sum()) - self._end
        kept = ClassRuns(self._cell_size, length, thin.kind, thin.mask)
        self._pieces, self._held = [kept], len(kept)

    def _joined(self) -> ClassRuns:
        if not self._pieces:
            nothing = np.zeros(0, dtype=np.int64)
            return ClassRuns.plain(self._cell_size, nothing, nothing.astype(np.uint8))
        columns = (
            np.concatenate([getattr(piece, name) for piece in self._pieces])
            for name in ("length", "kind", "mask")
        )
        return ClassRuns(self._cell_size, *columns).merged()


def _least_shift(runs: ClassRuns, most: int) -> int:
    """A shift, at least 1, below which there are certainly more runs than that."""
    # Longer than two cells, a run holds a whole one, and so is still a run of its own.
    at_least = np.cumsum(np.bincount(exponents(runs.length), minlength=64)[::-1])[::-1]
    shift = 1
    while shift < 62 and (at_least[shift + 1] > most or _certain(runs, shift) > most):
        shift += 1
    return shift


def _certain(runs: ClassRuns, shift: int) -> int:
    """How many runs there are at least in cells of ``1 << shift``."""
    whole = np.flatnonzero(runs.length >= 2 << shift)
    # A short run between two of these makes a cell that is like neither, if it is of a new class.
    apart = np.flatnonzero(np.diff(whole) > 1)
    before, behind = whole[apart], whole[apart + 1]
    short = runs.mask[before + 1]
    seen = (short & ~runs.mask[before] != 0) & (short & ~runs.mask[behind] != 0)
    return len(whole) + int(np.count_nonzero(seen))


def _coarser(
    runs: ClassRuns, shift: int
) -> tuple[NDArray[np.int64], NDArray[np.uint8], NDArray[np.uint16]]:
    """Length in coarse cells, class and mask: of cells that one run fills, and of each other."""
    end = np.cumsum(runs.length)
    start = end - runs.length
    within = (1 << shift) - 1
    if not int(np.bitwise_or.reduce(start)) & within:
        return (runs.length + within) >> shift, runs.kind, runs.mask
    # The runs that begin inside of a cell: each shares it with the one before.
    inner = np.flatnonzero((start & within) != 0)
    cell = start[inner] >> shift
    heads = np.flatnonzero(np.append(True, cell[1:] != cell[:-1])[: len(cell)])
    tails = np.append(heads[1:], len(cell))[: len(heads)] - 1
    groups = _Groups(cell[heads], inner[heads] - 1, inner[tails])
    # The last cell may be cut short, and then is as good as a whole one.
    if start[-1] <= end[-1] & ~within:
        end[-1] = (end[-1] + within) & ~within
    alone = np.flatnonzero(end - start > within)
    filled_from = (start[alone] + within) >> shift
    filled = (end[alone] >> shift) - filled_from
    some = filled > 0
    alone, filled_from, filled = alone[some], filled_from[some], filled[some]
    order = np.argsort(np.concatenate((filled_from, groups.cell)), kind="stable")
    length = np.concatenate((filled, np.ones(len(heads), dtype=np.int64)))
    kind = np.concatenate((runs.kind[alone], _largest(runs, start, groups, shift)))
    mask = np.concatenate((runs.mask[alone], _all_of(runs.mask, groups)))
    return length[order], kind[order], mask[order]


class _Groups(NamedTuple):
    """Coarse cells that several runs have parts of: the runs ``first`` to ``last`` (int64 each)."""

    cell: NDArray[np.int64]
    first: NDArray[np.int64]
    last: NDArray[np.int64]


def _largest(
    runs: ClassRuns, start: NDArray[np.int64], groups: _Groups, shift: int
) -> NDArray[np.uint8]:
    """The class with the largest share in each group, uint8[groups]; runs begin at ``start``."""
    cell, first, last = groups
    before = (cell << shift) - start[first]
    behind = np.minimum(runs.length[last], ((cell + 1) << shift) - start[last])
    number = np.bincount(runs.kind)
    # The most frequent class has what the others leave, which spares adding it up.
    rest = int(number.argmax())
    shares = {rest: start[last] + behind - (cell << shift)}
    for kind in np.flatnonzero(number).tolist():
        if kind == rest:
            continue
        is_kind = runs.kind == kind
        length = runs.length * is_kind
        below = np.cumsum(length) - length
        share = below[last] - below[first]
        share += behind * is_kind[last] - before * is_kind[first]
        shares[kind] = share
        shares[rest] -= share
    return class_of_most(shares, len(cell))


def _all_of(mask: NDArray[np.uint16], groups: _Groups) -> NDArray[np.uint16]:
    """What is in any run of each group: uint16[groups]."""
    bounds = np.stack((groups.first, groups.last + 1), axis=1).reshape(-1)
    if not len(bounds):
        return mask[:0]
    # Of each two that follow each other the first goes from one bound of a group to the other.
    joined: NDArray[np.uint16] = np.bitwise_or.reduceat(np.append(mask, mask[:1]), bounds)[::2]
    return joined
