"""Guest ranges that a repair gives up, listed before anybody agrees to it."""

import numpy as np
from numpy.typing import NDArray

from qcow2_dump.checks.facts import CheckFacts
from qcow2_dump.planners.proposal import GuestLoss

__all__ = ["LossList"]

_LISTED = 1000


class LossList:
    """The first ranges in ``listed``, and how many there are in all: ``total``."""

    def __init__(self, facts: CheckFacts) -> None:
        self._facts = facts
        self.listed: list[GuestLoss] = []
        self.total = 0
        self._end: tuple[int, int, str] | None = None

    def add_slots(self, positions: NDArray[np.int64], why: str) -> None:
        """Add what some L1 slots map, by ascending positions (int64)."""
        slots, span = self._facts.slots, self._facts.image.geometry.l1_span
        apart = np.diff(slots.place[positions]) != 8
        apart |= np.diff(slots.l1_index[positions]) != 1
        apart |= np.diff(slots.weight[positions]) != 0
        for run in _runs(positions, apart):
            labels, trees = ((), 0) if self._full else self._facts.trees_of_slots(run[:1])
            start = int(slots.l1_index[run[0]]) * span
            self._add(start, len(run) * span, labels, trees, why)

    def add_entries(self, table: int, indices: NDArray[np.int64], why: str) -> None:
        """Add what some L2 entries map, by ascending indices (int64)."""
        facts = self._facts
        geometry, slots = facts.image.geometry, facts.slots
        runs = list(_runs(indices, np.diff(indices) != 1))
        positions = facts.tables.slots_of(table)
        # A table that several L1 entries lead to maps as many ranges.
        distinct, first = np.unique(slots.l1_index[positions], return_index=True)
        for l1_index, position in zip(distinct.tolist(), positions[first].tolist(), strict=True):
            if self._full:
                self.total += len(runs)
                continue
            same = positions[slots.l1_index[positions] == l1_index]
            labels, trees = facts.trees_of_slots(same if len(same) else np.array([position]))
            for run in runs:
                start = geometry.guest_offset(l1_index, int(run[0]))
                self._add(start, len(run) * geometry.cluster_size, labels, trees, why)

    @property
    def _full(self) -> bool:
        return len(self.listed) >= _LISTED

    def _add(self, start: int, length: int, labels: tuple[str, ...], trees: int, why: str) -> None:
        size = self._facts.image.header.size
        end = (start + length, trees, why)
        # What lies behind the disk is VM state, which is lost as a whole.
        length = min(length, size - start) if start < size else length
        last = self.listed[-1] if self.listed else None
        follows = last is not None and last.trees == labels and self._end == (start, trees, why)
        if last is not None and follows and start != size:
            self.listed[-1] = GuestLoss(last.offset, start + length - last.offset, labels, why)
        else:
            self.total += 1
            if self._full:
                return
            self.listed.append(GuestLoss(start, length, labels, why))
        self._end = end


def _runs(values: NDArray[np.int64], apart: NDArray[np.bool_]) -> list[NDArray[np.int64]]:
    """The values cut where ``apart`` says so: bool[n - 1]."""
    return np.split(values, np.flatnonzero(apart) + 1) if len(values) else []
