"""Which trees have each L1 entry and reach each L2 table, as codes of `Users`.

Snapshots may share an L1 table, and damaged ones may overlap in any way: the L1 tables are cut
into stretches, each of which some trees have.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from qcow2_dump.checks.facts import CheckFacts
from qcow2_dump.checks.space.users import Use, Users, tree_bit

__all__ = ["l1_stretches", "table_codes"]

_STATE = int(Use.VM_STATE)


def l1_stretches(facts: CheckFacts) -> Iterator[tuple[int, int, int]]:
    """The stretches of the file that L1 tables cover: start and end in bytes, mask of trees.

    Entries behind a disk hold VM state, which the mask says. In file order, without overlaps.
    """
    events: list[tuple[int, int, bool]] = []
    for position, tree in enumerate(facts.trees):
        if not tree.usable or not tree.l1_size:
            continue
        inside = min(tree.l1_size, facts.image.geometry.l1_entries_for(tree.disk_size))
        split = tree.l1_offset + 8 * inside if tree.holds_vm_state else tree.l1_end
        events += ((tree.l1_offset, position, False), (split, position, False))
        events += ((split, position, True), (tree.l1_end, position, True))
    events.sort()
    trees, behind_disks, start = 0, 0, 0
    held: set[int] = set()
    for place, position, behind in events:
        if place > start and trees:
            yield start, place, trees | (_STATE if behind_disks else 0)
        start = place
        key = 2 * position + behind
        ends = key in held
        held ^= {key}
        trees ^= tree_bit(position)
        if behind:
            behind_disks += -1 if ends else 1


def table_codes(facts: CheckFacts, users: Users) -> NDArray[np.int64]:
    """The trees that reach each L2 table, as codes: int64[tables]."""
    starts, codes = [], []
    # One by one: with thousands of snapshots a mask takes a kilobyte.
    for start, _, mask in l1_stretches(facts):
        starts.append(start)
        codes.append(users.code(mask))
    if not starts or not len(facts.tables):
        return np.zeros(len(facts.tables), dtype=np.int64)
    at = np.searchsorted(np.array(starts), facts.slots.place, side="right") - 1
    of_slot = np.array(codes, dtype=np.int64)[at]
    tables = facts.tables
    return users.join_runs(of_slot[tables.slot_order], tables.slot_start[:-1])
