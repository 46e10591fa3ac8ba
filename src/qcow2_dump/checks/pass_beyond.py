"""What lies past the end of the file: refcounts without clusters, and a file cut short.

QEMU does not look there. A file that ends before what its refcounts and pointers agree on was
truncated; refcounts to which nothing points are merely odd.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qcow2_dump.checks.facts import CheckFacts
from qcow2_dump.checks.findings import Finding, Table
from qcow2_dump.checks.tables.holes import holds_data
from qcow2_dump.ondisk import arrays
from qcow2_dump.ondisk.mapping import L2_OFFSET_MASK, EntryFlag

__all__ = ["check_beyond_end"]

_LOST = ("l2.beyond-end", "l1.beyond-end", "table.beyond-end", "refcount.block-beyond-end")


@dataclass(frozen=True, slots=True)
class _Beyond:
    """Refcount blocks with refcounts past the end: int64 arrays of one length.

    ``index`` in the refcount table, the ``first`` and the ``last`` such cluster, and how many
    there are.
    """

    index: NDArray[np.int64]
    first: NDArray[np.int64]
    last: NDArray[np.int64]
    number: NDArray[np.int64]


def check_beyond_end(facts: CheckFacts) -> None:
    """Report refcounts past the last cluster, and how much of a truncated file is missing."""
    beyond = _blocks_beyond(facts)
    _report_refcounts(facts, beyond)
    _count_as_leaks(facts, beyond)
    highest = int(beyond.last.max()) if len(beyond.last) else -1
    if highest >= 0 and _something_lost(facts, highest):
        _report_truncated(facts, highest)
        return
    lost_block = _highest_lost_block(facts)
    if lost_block >= 0 and facts.log.places("l2.beyond-end", "l1.beyond-end", "table.beyond-end"):
        _report_truncated(facts, lost_block)


def _highest_lost_block(facts: CheckFacts) -> int:
    """The highest cluster of a refcount block past the end, as far as it is plausible; else -1."""
    covered = len(facts.stored.entries) * facts.image.geometry.refcounts_per_block
    clusters = (
        finding.value >> facts.space.cluster_bits
        for finding in facts.log.kept("refcount.block-beyond-end")
        if finding.value is not None
    )
    return max((cluster for cluster in clusters if cluster < covered), default=-1)


def _blocks_beyond(facts: CheckFacts) -> _Beyond:
    """Find the blocks with refcounts past the end.

    Each distinct block is read once, however many entries of a hostile table lead to it.
    """
    stored, geometry, size = facts.stored, facts.image.geometry, facts.space.cluster_size
    per_block = geometry.refcounts_per_block
    start = facts.clusters // per_block
    usable = ~stored.unreadable & (stored.offsets != 0)
    usable &= stored.offsets < np.uint64(facts.space.end)
    index = np.flatnonzero(usable[start:]) + start
    distinct, which = np.unique(stored.offsets[index].view(np.int64), return_inverse=True)
    held = np.zeros((len(distinct), 3), dtype=np.int64)
    for at in np.flatnonzero(holds_data(facts.image.source, distinct, size)).tolist():
        held[at] = _used(facts, int(distinct[at]), 0)
    found = held[which]
    if len(index) and index[0] == start:
        # Of the block that the end lies in, only the rest counts.
        found[0] = _used(facts, int(stored.offsets[start]), facts.clusters % per_block)
    filled = found[:, 2] != 0
    index, found = index[filled], found[filled]
    base = index * per_block
    return _Beyond(index, base + found[:, 0], base + found[:, 1], found[:, 2])


def _used(facts: CheckFacts, offset: int, low: int) -> tuple[int, int, int]:
    """The first and last refcount of a block that is not 0, from ``low`` on, and their number."""
    data = facts.image.source.read(offset, facts.space.cluster_size)
    values = arrays.unpack_refcounts(data, facts.image.geometry.refcount_order)
    used = np.flatnonzero(values[low:]) + low
    return (int(used[0]), int(used[-1]), len(used)) if len(used) else (0, 0, 0)


def _count_as_leaks(facts: CheckFacts, beyond: _Beyond) -> None:
    """Put refcounts of missing clusters among the leaks of the statistics, not of the totals.

    The statistics go as far as the virtual size, QEMU's totals as far as the file.
    """
    geometry = facts.image.geometry
    total = geometry.clusters(facts.image.header.size)
    if total <= facts.clusters:
        return
    per_block = geometry.refcounts_per_block
    last = total // per_block
    used = int(beyond.number[beyond.index < last].sum())
    if total % per_block and (beyond.index == last).any():
        for chunk in facts.stored.block_chunks(last, total):
            if chunk.values is not None:
                inside = chunk.values[max(0, facts.clusters - chunk.first) :]
                used += int(np.count_nonzero(inside))
    facts.refcounts.leak += used
    facts.refcounts.unused -= used


def _report_refcounts(facts: CheckFacts, beyond: _Beyond) -> None:
    geometry = facts.image.geometry

    def make(i: int) -> Finding:
        block, first = int(beyond.index[i]), int(beyond.first[i])
        offset = int(facts.stored.offsets[block])
        within = first - block * geometry.refcounts_per_block
        return Finding(
            code="refcount.beyond-end",
            message=f"{int(beyond.number[i])} refcounts from cluster {first} to "
            f"{int(beyond.last[i])} belong to no cluster of the file, which has "
            f"{facts.space.clusters}",
            offset=offset + within * geometry.refcount_bits // 8,
            table=Table("refcount_block", offset),
            cluster=first,
        )

    facts.log.add_many("refcount.beyond-end", len(beyond.index), make, count=0)


def _something_lost(facts: CheckFacts, highest: int) -> bool:
    """Whether anything points to a cluster past the end whose stored refcount is not 0."""
    raw = [
        finding.value
        for code in _LOST
        for finding in facts.log.kept(code)
        if finding.value is not None and not finding.value & EntryFlag.COMPRESSED
    ]
    clusters = [(value & L2_OFFSET_MASK) >> facts.space.cluster_bits for value in raw]
    chosen = np.array([cluster for cluster in clusters if cluster <= highest], dtype=np.int64)
    return bool(facts.stored.values_of(chosen).any())


def _report_truncated(facts: CheckFacts, highest: int) -> None:
    end = (highest + 1) << facts.space.cluster_bits
    missing = end - facts.space.length
    facts.log.add(
        Finding(
            code="file.truncated",
            message=f"the file is cut short: it has {facts.space.length} bytes, and by its "
            f"refcounts it had at least {end}; {missing} bytes are missing",
            offset=facts.space.length,
            table=Table("file", 0),
            value=facts.space.length,
            expected=end,
        )
    )
