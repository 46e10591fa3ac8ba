"""Which mapping tables may be written to: those in clusters that nothing else claims.

A damaged pointer can make a table of anything, the header or the guest's data. What is written
into such a table would ruin what the place really holds.
"""

import numpy as np
from numpy.typing import NDArray

from qcow2_dump.checks.facts import CheckFacts

__all__ = ["owned_l1_slots", "owned_l2_tables"]


def owned_l2_tables(facts: CheckFacts) -> NDArray[np.bool_]:
    """The L2 tables that lie where nothing but L1 entries leads: bool[tables]."""
    tables, space = facts.tables, facts.space
    owned = tables.walked & ~tables.misread & (tables.offset + space.cluster_size <= space.end)
    chosen = np.flatnonzero(owned)
    clusters = tables.offset[chosen] >> space.cluster_bits
    counts = facts.references.counts[clusters].astype(np.int64)
    owned[chosen] = counts == tables.weight[chosen]
    return owned


def owned_l1_slots(facts: CheckFacts) -> NDArray[np.bool_]:
    """The L1 entries that lie where nothing but one tree's L1 table does: bool[slots]."""
    place = facts.slots.place
    owned: NDArray[np.bool_] = (place + 8 <= facts.space.length) & (facts.slots.weight == 1)
    chosen = np.flatnonzero(owned)
    owned[chosen] = facts.references.counts[place[chosen] >> facts.space.cluster_bits] == 1
    return owned
