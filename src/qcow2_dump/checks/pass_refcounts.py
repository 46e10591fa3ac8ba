"""The stored refcounts against the counted ones (format sections 8.5, 8.6)."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from qcow2_dump.checks.bitset import BitSet
from qcow2_dump.checks.facts import CheckFacts
from qcow2_dump.checks.findings import Finding, Table
from qcow2_dump.checks.refcount_map import RefcountMap
from qcow2_dump.checks.stored import StoredChunk

__all__ = ["LeakMap", "RefcountComparison"]

_Flags = NDArray[np.bool_]

_NOWHERE = np.zeros(0, dtype=np.int64)


class LeakMap:
    """Which host clusters leak: ``unreferenced`` ones have a refcount and no reference at all,
    ``overcounted`` ones more refcount than references. The opposite of a leak is ``undercounted``:
    less refcount than references, or one that cannot be read."""

    def __init__(self, clusters: int) -> None:
        self.unreferenced = BitSet(clusters)
        self.overcounted = BitSet(clusters)
        self.undercounted = BitSet(clusters)


class RefcountComparison:
    """Stored against counted refcounts, window by window in host order."""

    def __init__(self, facts: CheckFacts, leaks: LeakMap) -> None:
        self._facts = facts
        self._leaks = leaks
        self._highest = 0
        self._maximum = facts.image.geometry.refcount_max
        # Clusters in use of the block in which the last piece ended, where it has no refcounts.
        self._used_before = 0

    def compare(self, references: RefcountMap) -> Iterator[int]:
        """Compare the clusters of the next window. Yields the bytes read so far, of all windows."""
        end = min(references.end, self._facts.clusters)
        for chunk in self._facts.stored.chunks(end, references.first):
            self._take(chunk, references.between(chunk.first, chunk.end))
            yield chunk.end * self._facts.image.geometry.refcount_bits // 8

    def _take(self, chunk: StoredChunk, counted: NDArray[np.unsignedinteger]) -> None:
        """Compare one piece."""
        counted = self._saturate(chunk.first, counted)
        if len(chunk.unreadable):
            counted = self._report_unreadable(chunk, counted)
        stored = chunk.values
        if stored is None:
            if not counted.any() and not self._used_before:
                return
            stored = np.zeros(len(counted), dtype=np.uint8)
        if len(chunk.missing):
            self._report_missing(chunk, counted)
        if np.array_equal(stored, counted):
            self._note_used(chunk.first, counted != 0)
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
        self._leaks.undercounted.add(first + over)
        expected: NDArray[np.unsignedinteger] = np.minimum(
            counted, counted.dtype.type(self._maximum)
        )
        return expected

    def _note_used(self, first: int, is_claimed: _Flags) -> None:
        used = int(np.count_nonzero(is_claimed))
        self._facts.refcounts.used += used
        if used:
            self._highest = first + _last(is_claimed)

    def _compare(
        self,
        first: int,
        stored: NDArray[np.unsignedinteger],
        expected: NDArray[np.unsignedinteger],
    ) -> None:
        statistics = self._facts.refcounts
        is_low, is_leak, is_claimed = stored < expected, stored > expected, expected != 0
        is_overcounted = is_leak & is_claimed
        is_unreferenced = is_leak & ~is_claimed
        self._note_used(first, is_claimed)
        low, overcounted, unreferenced = (
            _mark(marked, first, flags)
            for marked, flags in (
                (self._leaks.undercounted, is_low),
                (self._leaks.overcounted, is_overcounted),
                (self._leaks.unreferenced, is_unreferenced),
            )
        )
        if unreferenced:
            # Their refcount alone says that they are used.
            self._highest = max(self._highest, first + _last(is_unreferenced))
        statistics.used -= low + overcounted
        statistics.error += low
        statistics.leak += overcounted + unreferenced
        statistics.rebuild += int(np.count_nonzero(is_low & (stored == 0)))
        for code, flags in (("refcount.low", is_low), ("refcount.leak", is_leak)):
            self._report_places(code, first, flags, stored, expected)

    def _report_places(
        self,
        code: str,
        first: int,
        flags: _Flags,
        stored: NDArray[np.unsignedinteger],
        expected: NDArray[np.unsignedinteger],
    ) -> None:
        """Report the flagged ones of the clusters from ``first`` on."""
        facts, number = self._facts, int(np.count_nonzero(flags))
        # Of most of them only the number is kept.
        places = np.flatnonzero(flags) if number and facts.log.room(code) else _NOWHERE

        def make(i: int) -> Finding:
            cluster = first + int(places[i])
            has, needs = int(stored[places[i]]), int(expected[places[i]])
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

        facts.log.add_many(code, number, make, count=number)

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
        begin = chunk.unreadable * per_block
        behind = np.minimum(begin + per_block, facts.clusters)
        first, end = np.maximum(begin, chunk.first), np.minimum(behind, chunk.end)
        counted = counted.copy()
        for start, stop in zip(first.tolist(), end.tolist(), strict=True):
            piece = counted[start - chunk.first : stop - chunk.first]
            used = np.flatnonzero(piece)
            facts.refcounts.error += len(used)
            facts.refcounts.rebuild += len(used)
            self._leaks.undercounted.add(used + start)
            piece[:] = 0
        facts.statistics.check_errors += int((end - first).sum())
        table = facts.image.header.refcount_table_offset
        # Cut in two by a window, a block is reported with its last part.
        whole = np.flatnonzero(end == behind)

        def make(i: int) -> Finding:
            at = whole[i]
            index = int(chunk.unreadable[at])
            block = int(facts.stored.offsets[index])
            return Finding(
                code="refcount.unreadable",
                message=f"the refcounts of clusters {int(begin[at])} to {int(behind[at]) - 1} "
                f"cannot be read: their block is said to be at {block:#x}",
                offset=table + 8 * index,
                table=Table("refcount_table", table),
                value=int(facts.stored.entries[index]),
            )

        facts.log.add_many("refcount.unreadable", len(whole), make, count=0)
        return counted

    def _report_missing(self, chunk: StoredChunk, counted: NDArray[np.unsignedinteger]) -> None:
        """Report the blocks that do not exist although clusters of theirs are in use."""
        facts = self._facts
        per_block = facts.image.geometry.refcounts_per_block
        first, last = chunk.first // per_block, (chunk.end - 1) // per_block
        within = np.flatnonzero(counted) + chunk.first % per_block
        used = np.bincount(within // per_block, minlength=last - first + 1)
        used[0] += self._used_before
        self._used_before = 0
        missing = chunk.missing
        if missing[-1] == last and chunk.end < min((last + 1) * per_block, facts.clusters):
            # Cut in two by a window, and reported with its last part.
            self._used_before = int(used[-1])
            missing = missing[:-1]
        needed = missing[used[missing - first] != 0]
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


def _mark(marked: BitSet, first: int, flags: _Flags) -> int:
    """Put the flagged ones of the clusters from ``first`` on into a set; returns their number."""
    number = int(np.count_nonzero(flags))
    if number:
        marked.include(first, flags)
    return number


def _last(flags: _Flags) -> int:
    """Where the last flag is set; some is."""
    return flags.tobytes().rfind(1)


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
