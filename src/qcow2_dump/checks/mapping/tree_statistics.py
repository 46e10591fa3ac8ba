"""The entries of each tree's tables, added up from what was gathered once per distinct table."""

import numpy as np
from numpy.typing import NDArray

from qcow2_dump.checks.facts import CheckFacts
from qcow2_dump.checks.result import TableStatistics, TreeStatistics
from qcow2_dump.ondisk import arrays

__all__ = ["tree_statistics"]


def tree_statistics(facts: CheckFacts) -> list[TreeStatistics]:
    """The statistics of the active layer and of each snapshot, in this order."""
    l1 = _l1_sums(facts)
    l2 = _l2_sums(facts)
    entries = facts.image.geometry.l2_entries
    found = []
    for tree in facts.trees:
        chosen = facts.slots.of_tree(tree)
        statistics = TreeStatistics(index=tree.index, examined=tree.usable)
        if tree.usable:
            unaligned, invalid, used = (int(sums[chosen.stop] - sums[chosen.start]) for sums in l1)
            statistics.l1 = TableStatistics(
                unaligned=unaligned,
                invalid=invalid,
                used=used,
                unused=tree.l1_size - unaligned - invalid - used,
            )
            sums = [int(total[chosen.stop] - total[chosen.start]) for total in l2]
            unaligned, invalid, used, compressed = sums
            statistics.l2 = TableStatistics(
                unaligned=unaligned,
                invalid=invalid,
                used=used,
                compressed=compressed,
                unused=statistics.l1.used * entries - unaligned - invalid - used,
            )
        found.append(statistics)
    return found


def _l1_sums(facts: CheckFacts) -> list[NDArray[np.int64]]:
    """Running sums over the L1 slots: unaligned, past the end, used."""
    offsets = arrays.l1_offsets(facts.slots.raw)
    held = offsets != 0
    unaligned = (offsets & np.uint64(facts.space.cluster_size - 1)) != 0
    invalid = ~unaligned & (offsets >= np.uint64(facts.space.end))
    return [_running(mask) for mask in (unaligned, invalid, held & ~unaligned & ~invalid)]


def _l2_sums(facts: CheckFacts) -> list[NDArray[np.int64]]:
    """Running sums over the L1 slots of what their L2 tables hold; only real tables count."""
    tables = facts.tables
    of_slot = tables.of_slots()
    real = tables.walked & ~tables.misread
    gathered = (tables.unaligned, tables.invalid, tables.used, tables.compressed)
    return [_running(np.where(real, values, 0)[of_slot]) for values in gathered]


def _running(values: NDArray[np.bool_] | NDArray[np.int64]) -> NDArray[np.int64]:
    sums = np.zeros(len(values) + 1, dtype=np.int64)
    np.cumsum(values, out=sums[1:])
    return sums
