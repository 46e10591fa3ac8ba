"""Clusters that follow each other and are alike, as arrays: a file has far fewer than clusters."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qcow2_dump.checks.space.kinds import Kind
from qcow2_dump.checks.space.users import NOBODY

__all__ = ["Stretches", "add_up", "cut_where_any_changes"]


@dataclass(frozen=True, slots=True)
class Stretches:
    """Stretches of clusters without gaps: arrays of one length.

    ``start`` (int64) is the first cluster of each, which reaches to the next one, the last to
    ``end``, not included. ``codes`` (unsigned) are their users, ``kinds`` (uint8) their `Kind`;
    ``damaged`` (bool) are those of which every cluster is damaged, the others have no such one.
    """

    start: NDArray[np.int64]
    end: int
    codes: NDArray[np.unsignedinteger]
    kinds: NDArray[np.uint8]
    damaged: NDArray[np.bool_]

    @classmethod
    def unused(cls, first: int, end: int) -> "Stretches":
        """The clusters ``first`` to ``end``, not included, all of which are free."""
        return cls(
            np.array([first], dtype=np.int64),
            end,
            np.array([NOBODY], dtype=np.uint8),
            np.array([Kind.FREE], dtype=np.uint8),
            np.zeros(1, dtype=np.bool_),
        )

    @property
    def ends(self) -> NDArray[np.int64]:
        """The cluster behind each stretch: int64."""
        return np.append(self.start[1:], self.end)

    @property
    def lengths(self) -> NDArray[np.int64]:
        """How many clusters each stretch has: int64."""
        return np.diff(self.start, append=self.end)


def cut_where_any_changes(
    columns: Sequence[NDArray[np.unsignedinteger] | NDArray[np.bool_]],
) -> NDArray[np.int64]:
    """The positions, in columns of one length, at which any differs from the one before, and 0."""
    change = columns[0][1:] != columns[0][:-1]
    for column in columns[1:]:
        change |= column[1:] != column[:-1]
    return np.append(0, np.flatnonzero(change) + 1)


def add_up(
    sums: NDArray[np.int64], of: NDArray[np.unsignedinteger], numbers: NDArray[np.int64]
) -> None:
    """Add to some sums: to each the numbers of the rows that are ``of`` it.

    Numbers stay below 2**53 together.
    """
    if len(of) < len(sums):
        np.add.at(sums, of, numbers)
    else:  # many times faster, but looks at all sums
        sums += np.bincount(of, weights=numbers, minlength=len(sums)).astype(np.int64)
