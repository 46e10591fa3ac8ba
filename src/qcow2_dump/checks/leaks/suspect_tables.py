"""Findings about tables that triage comes upon: lost ones, and empty ones that are in use."""

import numpy as np
from numpy.typing import NDArray

from qcow2_dump.checks.bitset import BitSet
from qcow2_dump.checks.facts import CheckFacts
from qcow2_dump.checks.findings import Finding, Table

__all__ = ["report_empty_tables", "report_lost_tables"]


def report_lost_tables(facts: CheckFacts, clusters: BitSet) -> None:
    """Report leaked clusters that read as tables: repair rules, section 1, (c)."""
    size = facts.space.cluster_size
    listed = clusters.first(facts.log.room("leak.orphan-table"))

    def make(i: int) -> Finding:
        offset = int(listed[i]) * size
        return Finding(
            code="leak.orphan-table",
            message=f"leaked cluster {int(listed[i])} at {offset:#x} reads as an L1 or L2 table "
            "that leads to what was lost",
            offset=offset,
            table=Table("l2", offset),
            cluster=int(listed[i]),
        )

    facts.log.add_many("leak.orphan-table", len(clusters), make, count=0)


def report_empty_tables(facts: CheckFacts, *, gap_filled: bool) -> int:
    """Report L2 tables in use that are all zeros; returns how many. Rule (b).

    The table behind the disk of the active layer is left out: there QEMU clears what a saved VM
    state used.
    """
    tables = facts.tables
    behind = facts.image.header.vm_state_l1_index
    chosen = tables.empty & tables.walked & ~tables.misread
    chosen &= (tables.l1_index < behind) | (tables.active == 0)
    empty = np.flatnonzero(chosen)
    if not len(empty):
        return 0
    wiped = _were_used(facts, empty) | gap_filled
    _report_empty(facts, "l2.wiped", empty[wiped], "was wiped")
    what = "was newly made when the machine died, or wiped"
    _report_empty(facts, "l2.empty", empty[~wiped], what)
    return len(empty)


def _were_used(facts: CheckFacts, empty: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Which empty tables are too old, or too widely used, to have been made just now: bool[n]."""
    tables, slots = facts.tables, facts.slots
    offset = tables.offset[empty]
    shared = facts.stored.values_of(offset >> facts.space.cluster_bits) > 1
    table_of_slot = tables.of_slots()
    filled = (~tables.empty & tables.walked & ~tables.misread)[table_of_slot]
    # Another table at the same index is another tree's.
    elsewhere = np.zeros(len(tables), dtype=np.bool_)
    elsewhere[table_of_slot[np.isin(slots.l1_index, slots.l1_index[filled])]] = True
    return (facts.last_data > offset) | shared | elsewhere[empty]


def _report_empty(facts: CheckFacts, code: str, empty: NDArray[np.int64], what: str) -> None:
    tables, geometry = facts.tables, facts.image.geometry
    first = tables.l1_index[empty] * geometry.l1_span
    size = min(facts.image.header.size, int(np.iinfo(np.int64).max))
    lengths = np.clip(size - first, 0, geometry.l1_span)

    def make(i: int) -> Finding:
        table = int(empty[i])
        offset, index = int(tables.offset[table]), int(tables.l1_index[table])
        labels, total = facts.trees_of_table(table)
        return Finding(
            code=code,
            message=f"the L2 table at {offset:#x} is in use but all zeros: it {what}",
            offset=offset,
            table=Table("l2", offset),
            l1_index=index,
            trees=labels,
            trees_total=total,
            guest_offset=int(first[i]),
            guest_length=int(lengths[i]),
        )

    facts.log.add_many(code, len(empty), make, count=0, guest_bytes=int(lengths.sum()))
