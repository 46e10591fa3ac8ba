"""The refcount table and the claims of its blocks (format section 8.5).

The blocks claim their own clusters last, when everything else has been counted; only then can
any refcount be compared.
"""

import numpy as np
from numpy.typing import NDArray

from qcow2_dump.checks.facts import CheckFacts
from qcow2_dump.checks.findings import Finding, Table
from qcow2_dump.ondisk.mapping import REFCOUNT_TABLE_RESERVED_MASK

__all__ = ["check_blocks", "claim_blocks", "judge_blocks", "report_shared_blocks"]


def check_blocks(facts: CheckFacts) -> None:
    """Judge the entries of the refcount table, and count the claims of their blocks."""
    judge_blocks(facts)
    report_shared_blocks(facts, claim_blocks(facts))


def judge_blocks(facts: CheckFacts) -> None:
    """Judge the entries of the refcount table; those that lead to blocks are ``claimed_blocks``."""
    stored, space = facts.stored, facts.space
    entries = stored.entries
    reserved = (entries & np.uint64(REFCOUNT_TABLE_RESERVED_MASK)) != 0
    unaligned = (stored.offsets & np.uint64(space.cluster_size - 1)) != 0
    clusters = stored.offsets >> np.uint64(space.cluster_bits)
    beyond = ~reserved & ~unaligned & (clusters >= np.uint64(facts.clusters))
    claims = ~reserved & ~unaligned & ~beyond & (stored.offsets != 0)
    statistics = facts.refcount_table
    statistics.unaligned = int(np.count_nonzero(unaligned | reserved))
    statistics.invalid = int(np.count_nonzero(beyond))
    statistics.used = int(np.count_nonzero(claims))
    statistics.unused = len(entries) - statistics.unaligned - statistics.invalid - statistics.used
    _report_entries(facts, "refcount.table-reserved", reserved, "has reserved bits set")
    _report_entries(
        facts, "refcount.table-unaligned", unaligned & ~reserved, "points to an unaligned offset"
    )
    _report_entries(facts, "refcount.block-beyond-end", beyond, "points past the end of the file")
    facts.claimed_blocks = claims


def claim_blocks(facts: CheckFacts) -> NDArray[np.bool_]:
    """Count the claims of the blocks, after all others.

    Returns which entries of the refcount table lead to a cluster that has other owners: bool, of
    the window that is counted.
    """
    references = facts.references
    shared = np.zeros(len(facts.claimed_blocks), dtype=np.bool_)
    chosen = np.flatnonzero(facts.claimed_blocks)
    clusters = facts.cluster_indices(facts.stored.offsets[chosen])
    inside = (clusters >= references.first) & (clusters < references.end)
    chosen, clusters = chosen[inside], clusters[inside]
    if len(chosen):
        _, first = np.unique(clusters, return_index=True)
        again = np.ones(len(chosen), dtype=np.bool_)
        again[first] = ~references.unused(clusters[first])
        references.claim(clusters, 1, 1)
        shared[chosen[again]] = True
    return shared


def report_shared_blocks(facts: CheckFacts, shared: NDArray[np.bool_]) -> None:
    """Report the entries of the refcount table that lead to clusters with other owners."""
    if facts.image.geometry.refcount_max == 1:
        return  # A one-bit counter stays at 1: QEMU counts an overflow there instead.
    _report_entries(
        facts, "refcount.block-shared", shared, "points to a block whose cluster has other owners"
    )


def _report_entries(facts: CheckFacts, code: str, mask: NDArray[np.bool_], what: str) -> None:
    chosen = np.flatnonzero(mask)
    start = facts.image.header.refcount_table_offset

    def make(i: int) -> Finding:
        index = int(chosen[i])
        raw = int(facts.stored.entries[index])
        return Finding(
            code=code,
            message=f"refcount table entry {index}: {raw:#018x} {what}",
            offset=start + 8 * index,
            table=Table("refcount_table", start),
            count=1,
            value=raw,
            cluster=raw >> facts.space.cluster_bits if code == "refcount.block-shared" else None,
        )

    facts.log.add_many(code, len(chosen), make, count=len(chosen))
