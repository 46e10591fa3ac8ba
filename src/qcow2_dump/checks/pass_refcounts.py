"""Refcount blocks, and the stored refcounts against the counted ones (format sections 8.5, 8.6).

The blocks claim their own clusters last, when everything else has been counted; only then can
any of them be compared.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from qcow2_dump.checks.bitset import BitSet
from qcow2_dump.checks.facts import CheckFacts
from qcow2_dump.checks.findings import Finding, Table
from qcow2_dump.checks.stored import StoredChunk
from qcow2_dump.ondisk.mapping import REFCOUNT_TABLE_RESERVED_MASK

__all__ = ["LeakMap", "check_blocks", "compare_refcounts"]


class LeakMap:
    """Which host clusters leak: ``unreferenced`` ones have a refcount and no reference at all,
    ``overcounted`` ones more refcount than references."""

    def __init__(self, clusters: int) -> None:
        self.unreferenced = BitSet(clusters)
        self.overcounted = BitSet(clusters)


def check_blocks(facts: CheckFacts) -> None:
    """Judge the entries of the refcount table, and count the claims of their blocks."""
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
    _claim_blocks(facts, claims)


def _claim_blocks(facts: CheckFacts, claims: NDArray[np.bool_]) -> None:
    chosen = np.flatnonzero(claims)
    if not len(chosen):
        return
    references, maximum = facts.references, facts.image.geometry.refcount_max
    clusters = facts.cluster_indices(facts.stored.offsets[chosen])
    _, first = np.unique(clusters, return_index=True)
    again = np.ones(len(chosen), dtype=np.bool_)
    again[first] = references.counts[clusters[first]] != 0
    references.claim(clusters, 1, 1)
    if maximum == 1:
        # A one-bit counter stays at 1: QEMU counts an overflow there instead.
        again[:] = False
    mask = np.zeros(len(claims), dtype=np.bool_)
    mask[chosen[again]] = True
    _report_entries(
        facts, "refcount.block-shared", mask, "points to a block whose cluster has other owners"
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


def compare_refcounts(facts: CheckFacts, leaks: LeakMap) -> Iterator[int]:
    """Compare every cluster's stored refcount with its references. Yields bytes read so far."""
    comparison = _Comparison(facts, leaks)
    done = 0
    for chunk in facts.stored.chunks(facts.clusters):
        comparison.take(chunk)
        done += (chunk.end - chunk.first) * facts.image.geometry.refcount_bits // 8
        yield done
    comparison.finish()


class _Comparison:
    """Stored against counted refcounts, piece by piece in host order."""

    def __init__(self, facts: CheckFacts, leaks: LeakMap) -> None:
        self._facts = facts
        self._leaks = leaks
        self._highest = 0
        self._maximum = facts.image.geometry.refcount_max

    def take(self, chunk: StoredChunk) -> None:
        """Compare one piece."""
        counted = self._saturate(
            chunk.first, self._facts.references.counts[chunk.first : chunk.end]
        )
        if len(chunk.unreadable):
            counted = self._report_unreadable(chunk, counted)
        stored = chunk.values
        if stored is None:
            if not counted.any():
                return
            stored = np.zeros(len(counted), dtype=np.uint8)
        if len(chunk.missing):
            self._report_missing(chunk, counted)
        if np.array_equal(stored, counted):
            self._note_matching(chunk.first, counted)
            return
        self._compare(chunk.first, stored, counted)

    def finish(self) -> None:
        """Set what is known only at the end."""
        statistics, facts = self._facts.refcounts, self._facts
        facts.statistics.image_end_offset = (self._highest + 1) << facts.space.cluster_bits
        total = max(facts.clusters, facts.image.geometry.clusters(facts.image.header.size))
        statistics.unused = total - statistics.used - statistics.error - statistics.leak

    def _saturate(
        self, first: int, counted: NDArray[np.unsignedinteger]
    ) -> NDArray[np.unsignedinteger]:
        """The references as far as a refcount can hold them; reports those that it cannot."""
        if self._maximum >= np.iinfo(counted.dtype).max:
            return counted
        over = np.flatnonzero(counted > self._maximum)
        if not len(over):
            return counted
        self._report_overflow(first + over, counted[over])
        expected: NDArray[np.unsignedinteger] = np.minimum(
            counted, counted.dtype.type(self._maximum)
        )
        return expected

    def _note_matching(self, first: int, counted: NDArray[np.unsignedinteger]) -> None:
        used = int(np.count_nonzero(counted))
        self._facts.refcounts.used += used
        if used == len(counted):
            self._highest = first + used - 1
        elif used:
            self._highest = first + int(np.flatnonzero(counted)[-1])

    def _compare(
        self,
        first: int,
        stored: NDArray[np.unsignedinteger],
        expected: NDArray[np.unsignedinteger],
    ) -> None:
        facts = self._facts
        low = np.flatnonzero(stored < expected)
        leak = np.flatnonzero(stored > expected)
        used = np.flatnonzero((stored != 0) | (expected != 0))
        if len(used):
            self._highest = first + int(used[-1])
        facts.refcounts.error += len(low)
        facts.refcounts.leak += len(leak)
        facts.refcounts.rebuild += int(np.count_nonzero(stored[low] == 0))
        facts.refcounts.used += len(used) - len(low) - len(leak)
        self._report_places("refcount.low", first + low, stored[low], expected[low])
        self._report_places("refcount.leak", first + leak, stored[leak], expected[leak])
        unreferenced = expected[leak] == 0
        self._leaks.unreferenced.add(first + leak[unreferenced])
        self._leaks.overcounted.add(first + leak[~unreferenced])

    def _report_places(
        self,
        code: str,
        clusters: NDArray[np.int64],
        stored: NDArray[np.unsignedinteger],
        expected: NDArray[np.unsignedinteger],
    ) -> None:
        facts = self._facts

        def make(i: int) -> Finding:
            cluster = int(clusters[i])
            has, needs = int(stored[i]), int(expected[i])
            place, block = _refcount_place(facts, cluster)
            return Finding(
                code=code,
                message=f"cluster {cluster} at {cluster << facts.space.cluster_bits:#x} has "
                f"refcount {has} but {_references(needs)}",
                offset=place,
                table=block,
                count=1,
                value=has,
                expected=needs,
                cluster=cluster,
            )

        facts.log.add_many(code, len(clusters), make, count=len(clusters))

    def _report_overflow(
        self, clusters: NDArray[np.int64], counted: NDArray[np.unsignedinteger]
    ) -> None:
        """More references than fit: QEMU counts one corruption for each that does not."""
        facts, maximum = self._facts, self._maximum
        excess = int(counted.sum(dtype=np.uint64)) - maximum * len(counted)

        def make(i: int) -> Finding:
            cluster, needs = int(clusters[i]), int(counted[i])
            place, block = _refcount_place(facts, cluster)
            return Finding(
                code="refcount.overflow",
                message=f"cluster {cluster} at {cluster << facts.space.cluster_bits:#x} has "
                f"{needs} references, but a refcount holds at most {maximum}",
                offset=place,
                table=block,
                count=needs - maximum,
                value=needs,
                expected=f"at most {maximum}",
                cluster=cluster,
            )

        facts.log.add_many("refcount.overflow", len(clusters), make, count=excess)

    def _report_unreadable(
        self, chunk: StoredChunk, counted: NDArray[np.unsignedinteger]
    ) -> NDArray[np.unsignedinteger]:
        """Report the blocks that cannot be read; returns the counts without what they cover."""
        facts = self._facts
        per_block = facts.image.geometry.refcounts_per_block
        first = chunk.unreadable * per_block
        end = np.minimum(first + per_block, chunk.end)
        counted = counted.copy()
        for start, stop in zip(first.tolist(), end.tolist(), strict=True):
            piece = counted[start - chunk.first : stop - chunk.first]
            used = int(np.count_nonzero(piece))
            facts.refcounts.error += used
            facts.refcounts.rebuild += used
            piece[:] = 0
        facts.statistics.check_errors += int((end - first).sum())
        table = facts.image.header.refcount_table_offset

        def make(i: int) -> Finding:
            index = int(chunk.unreadable[i])
            return Finding(
                code="refcount.unreadable",
                message=f"the refcounts of clusters {int(first[i])} to {int(end[i]) - 1} cannot be "
                f"read: their block is said to be at {int(facts.stored.offsets[index]):#x}",
                offset=table + 8 * index,
                table=Table("refcount_table", table),
                value=int(facts.stored.entries[index]),
            )

        facts.log.add_many("refcount.unreadable", len(first), make, count=0)
        return counted

    def _report_missing(self, chunk: StoredChunk, counted: NDArray[np.unsignedinteger]) -> None:
        """Report the blocks that do not exist although clusters of theirs are in use."""
        facts = self._facts
        per_block = facts.image.geometry.refcounts_per_block
        first = chunk.first // per_block
        blocks = -(-(chunk.end - chunk.first) // per_block)
        used = np.bincount(np.flatnonzero(counted) // per_block, minlength=blocks)
        needed = chunk.missing[used[chunk.missing - first] != 0]
        table = facts.image.header.refcount_table_offset

        def make(i: int) -> Finding:
            index = int(needed[i])
            inside = index < len(facts.stored.entries)
            return Finding(
                code="refcount.block-missing",
                message=f"refcount block {index} does not exist, but {int(used[index - first])} of "
                "its clusters are in use",
                offset=table + 8 * index if inside else None,
                table=Table("refcount_table", table),
                value=0 if inside else None,
            )

        facts.log.add_many("refcount.block-missing", len(needed), make, count=0)


def _references(number: int) -> str:
    return "1 reference" if number == 1 else f"{number or 'no'} references"


def _refcount_place(facts: CheckFacts, cluster: int) -> tuple[int | None, Table | None]:
    """The file offset of a cluster's refcount (of its byte, if narrower), and its block."""
    geometry = facts.image.geometry
    index, within = divmod(cluster, geometry.refcounts_per_block)
    if index >= len(facts.stored.offsets) or not facts.stored.offsets[index]:
        return None, None
    block = int(facts.stored.offsets[index])
    return block + within * geometry.refcount_bits // 8, Table("refcount_block", block)
