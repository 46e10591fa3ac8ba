"""What lies past the end of the file: refcounts without clusters, and a file cut short.

QEMU does not look there. A file that ends before what its refcounts and pointers agree on was
truncated; refcounts to which nothing points are merely odd.
"""

from collections.abc import Iterator

import numpy as np

from qcow2_dump.checks.facts import CheckFacts
from qcow2_dump.checks.findings import Finding, Table
from qcow2_dump.ondisk import arrays
from qcow2_dump.ondisk.mapping import L2_OFFSET_MASK, EntryFlag

__all__ = ["check_beyond_end"]

_LOST = ("l2.beyond-end", "l1.beyond-end", "table.beyond-end", "refcount.block-beyond-end")


def check_beyond_end(facts: CheckFacts) -> None:
    """Report refcounts past the last cluster, and how much of a truncated file is missing."""
    highest = -1
    for block, first, last, used in _blocks_beyond(facts):
        highest = max(highest, last)
        _report_refcounts(facts, block, first, last, used)
        _count_as_leaks(facts, block, used)
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


def _blocks_beyond(facts: CheckFacts) -> Iterator[tuple[int, int, int, int]]:
    """Blocks with refcounts past the end: index, first and last such cluster, their number.

    Each distinct block is read once, however many entries of a hostile table lead to it.
    """
    stored, geometry = facts.stored, facts.image.geometry
    per_block = geometry.refcounts_per_block
    start = facts.clusters // per_block
    usable = ~stored.unreadable & (stored.offsets != 0)
    usable &= stored.offsets < np.uint64(facts.space.end)
    seen: dict[int, tuple[int, int, int]] = {}
    for index in np.flatnonzero(usable[start:]) + start:
        offset = int(stored.offsets[index])
        low = max(0, facts.clusters - int(index) * per_block)
        if offset not in seen or low:
            data = facts.image.source.read(offset, geometry.cluster_size)
            values = arrays.unpack_refcounts(data, geometry.refcount_order)
            used = np.flatnonzero(values[low:]) + low
            found = (int(used[0]), int(used[-1]), len(used)) if len(used) else (0, 0, 0)
            if low:
                if found[2]:
                    base = int(index) * per_block
                    yield int(index), base + found[0], base + found[1], found[2]
                continue
            seen[offset] = found
        first, last, number = seen[offset]
        if number:
            yield int(index), int(index) * per_block + first, int(index) * per_block + last, number


def _count_as_leaks(facts: CheckFacts, block: int, used: int) -> None:
    """Put refcounts of missing clusters among the leaks of the statistics, not of the totals.

    The statistics go as far as the virtual size, QEMU's totals as far as the file.
    """
    geometry = facts.image.geometry
    total = geometry.clusters(facts.image.header.size)
    per_block = geometry.refcounts_per_block
    if total <= max(facts.clusters, block * per_block):
        return
    if total < (block + 1) * per_block:
        chunks = facts.stored.block_chunks(block, total)
        values = [
            c.values[max(0, facts.clusters - c.first) :] for c in chunks if c.values is not None
        ]
        used = sum(int(np.count_nonzero(part)) for part in values)
    facts.refcounts.leak += used
    facts.refcounts.unused -= used


def _report_refcounts(facts: CheckFacts, block: int, first: int, last: int, used: int) -> None:
    offset = int(facts.stored.offsets[block])
    bits = facts.image.geometry.refcount_bits
    within = first - block * facts.image.geometry.refcounts_per_block
    facts.log.add(
        Finding(
            code="refcount.beyond-end",
            message=f"{used} refcounts from cluster {first} to {last} belong to no cluster of the "
            f"file, which has {facts.space.clusters}",
            offset=offset + within * bits // 8,
            table=Table("refcount_block", offset),
            cluster=first,
        )
    )


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
