"""How many host clusters are counted at a time, so that the counters fit a memory budget.

What fits at once is counted in one walk over all tables. What does not is counted window by
window, with one walk for each: claims of clusters outside of the window are dropped.
"""

from typing import NamedTuple

from qcow2_dump.checks.facts import CheckFacts

__all__ = ["MOST_WINDOWS", "Windows"]

MOST_WINDOWS = 16
"""Into how many windows a file is cut at most: the counters are then the least that it takes."""

# What the interpreter, numpy and the scratch arrays of a walk take, in bytes.
_BASE = 48 << 20

# Per L1 slot and per distinct L2 table, in bytes: `L1Slots`, `L2Tables` and how they are made.
_SLOT = 48
_TABLE = 168

# Bits per cluster of the file, whatever the window: stored ones, leaks (3), what `KeptReferences`
# keeps (3).
_KEPT_BITS = 7
# Bits per cluster of the window beside its counter: shared and compressed ones, runs that wait.
_MARK_BITS = 4

# A window starts and ends at whole bytes of a bit set, and of the narrowest refcounts.
_STEP = 8


class Windows(NamedTuple):
    """The windows of a file of ``clusters`` host clusters.

    ``room`` is what the counters and their marks may take in bytes, None for no limit.
    """

    clusters: int
    room: int | None = None

    @classmethod
    def of(cls, facts: CheckFacts, budget: int | None) -> "Windows":
        """The windows for an image, given a memory budget in bytes for the whole process.

        A budget that is smaller than what a check always needs gives the smallest windows.
        """
        clusters = facts.references.size
        if budget is None:
            return cls(clusters)
        always = _BASE + len(facts.slots) * _SLOT + len(facts.tables) * _TABLE
        return cls(clusters, max(0, budget - always - clusters * _KEPT_BITS // 8))

    def end(self, first: int, bits: int) -> int:
        """The end of the window that begins at a cluster, with counters of ``bits`` bits."""
        if self.room is None:
            return self.clusters
        fitting = self.room * 8 // (bits + _MARK_BITS)
        least = -(-self.clusters // MOST_WINDOWS)
        length = max(fitting // _STEP, -(-least // _STEP)) * _STEP
        return min(first + length, self.clusters)

    @property
    def is_one(self) -> bool:
        """Whether all clusters are counted at once, if no counter overflows."""
        return self.end(0, 8) == self.clusters
