"""Where the refcounts are to be stored: blocks and table that can stay, and those made anew.

A block can stay where its table entry leads to a cluster of the file that belongs to nobody else.
Everything else is replaced by new clusters, and the old place is left to whoever else owns it.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from qcow2_dump.checks.facts import CheckFacts
from qcow2_dump.checks.refcount_map import RefcountMap
from qcow2_dump.errors import UnsafePlanError
from qcow2_dump.ondisk.constants import MAX_REFCOUNT_TABLE_BYTES
from qcow2_dump.ondisk.mapping import REFCOUNT_TABLE_OFFSET_MASK
from qcow2_dump.planners.allocator import Allocator
from qcow2_dump.planners.checked import Checked
from qcow2_dump.planners.mapping.changes import certain_references
from qcow2_dump.planners.refcounts.targets import RefcountTargets

__all__ = ["BlockLayout", "lay_out_blocks"]

_PIECE = 1 << 20


@dataclass(slots=True)
class BlockLayout:
    """The refcount table as it will be, and which blocks are new.

    ``entries`` are the table's entries (uint64) and ``old_entries`` those as found, both of the
    length of the table as it will be. ``table`` is its file offset in bytes, None where the image
    has none that could be used and none was to be made; ``new_table`` says that it is another
    than before. ``made`` are the new blocks, by their index. ``writable`` says which blocks may
    be written to (bool).
    """

    entries: NDArray[np.uint64]
    old_entries: NDArray[np.uint64]
    table: int | None
    writable: NDArray[np.bool_]
    new_table: bool = False
    made: dict[int, int] = field(default_factory=dict)

    @property
    def changes(self) -> bool:
        """Whether any pointer changes."""
        return self.new_table or bool((self.entries != self.old_entries).any())

    @property
    def moved(self) -> NDArray[np.int64]:
        """The blocks that will be elsewhere or gone, by their indices, ascending (int64)."""
        differing = (self.entries ^ self.old_entries) & np.uint64(REFCOUNT_TABLE_OFFSET_MASK)
        return np.flatnonzero(differing)

    def offset_of(self, index: int) -> int | None:
        """File offset of the block at an index, None where none can be written to."""
        if index >= len(self.entries) or not self.writable[index]:
            return None
        return int(self.entries[index])


def lay_out_blocks(
    found: Checked,
    drafted: Checked,
    targets: RefcountTargets,
    allocator: Allocator,
    *,
    rebuild: bool,
) -> BlockLayout:
    """Decide which blocks stay, and allocate those that are missing.

    ``rebuild`` also replaces what cannot be used. The references of what is made and given up are
    counted in ``targets``. Raises UnsafePlanError where there is no room.
    """
    _forget_reached_blocks(found.facts, drafted.facts, targets)
    # Where nothing is replaced, what is certainly no table does not make a block unusable.
    certain = None
    if not rebuild:
        certain = certain_references(drafted.facts), certain_references(found.facts)
    planner = _Planner(found, drafted, targets, allocator, certain)
    return planner.lay_out(drafted.facts.clusters)


def _forget_reached_blocks(
    found: CheckFacts, drafted: CheckFacts, targets: RefcountTargets
) -> None:
    """Blocks past the end as found are none, even where the file grew over their place."""
    for index in np.flatnonzero(drafted.claimed_blocks & ~found.claimed_blocks).tolist():
        targets.add_reference(int(found.stored.offsets[index]) >> found.space.cluster_bits, -1)


class _Planner:
    def __init__(
        self,
        found: Checked,
        drafted: Checked,
        targets: RefcountTargets,
        allocator: Allocator,
        certain: tuple[RefcountMap, RefcountMap] | None,
    ) -> None:
        self._facts: CheckFacts = found.facts
        self._drafted: CheckFacts = drafted.facts
        self._targets = targets
        self._allocator = allocator
        self._certain = certain
        self._rebuild = certain is None
        self._bits = found.facts.space.cluster_bits
        self._per_block = found.image.geometry.refcounts_per_block
        self._per_cluster = found.image.geometry.cluster_size // 8
        self._entries = found.facts.stored.entries.copy()
        self._good = self._usable()
        self._table_usable = self._is_table_usable()

    def lay_out(self, clusters: int) -> BlockLayout:
        if self._rebuild:
            self._adopt_and_drop()
        needed = self._needed(clusters)
        made: dict[int, int] = {}
        table, replaced = self._table_offset(), False
        may_make = self._rebuild or self._table_usable
        if may_make and (needed or (self._rebuild and not self._table_usable)):
            replaced = not self._table_usable or self._is_outgrown(clusters, needed)
            if replaced:
                table = self._make_table(clusters, len(needed))
            self._make_blocks(needed, made)
        entries = self._entries
        old = np.zeros(len(entries), dtype=np.uint64)
        before = self._facts.stored.entries
        old[: min(len(before), len(old))] = before[: len(old)]
        writable = self._good.copy()
        for index, cluster in made.items():
            entries[index] = np.uint64(cluster << self._bits)
            writable[index] = True
        if not may_make:
            writable[:] = False
        return BlockLayout(entries, old, table, writable, new_table=replaced, made=made)

    def _usable(self) -> NDArray[np.bool_]:
        """Which entries lead to a block that is nobody else's: bool[entries]."""
        facts = self._facts
        good = facts.claimed_blocks.copy()
        chosen = np.flatnonzero(good)
        indices = facts.cluster_indices(facts.stored.offsets[chosen])
        good[chosen] = self._are_alone(indices)
        return good

    def _are_alone(self, clusters: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Which clusters of the file have exactly one reference, now and as drafted: bool[n].

        As long as the draft is not written, whoever claims a cluster as well still uses it.
        """
        drafted, now = self._certain or (self._drafted.references, self._facts.references)
        changes = np.array([self._targets.changes.get(c, 0) for c in clusters.tolist()], np.int64)
        counted = drafted.counts[clusters].astype(np.int64) + changes
        alone: NDArray[np.bool_] = (now.counts[clusters] == 1) & (counted == 1)
        return alone

    def _table_offset(self) -> int | None:
        return self._facts.image.header.refcount_table_offset if self._table_usable else None

    def _table_clusters(self) -> range:
        """The clusters of the table as found; none where it cannot be read."""
        if not len(self._entries):
            return range(0)
        start = self._facts.image.header.refcount_table_offset
        return range(*self._facts.space.span(start, 8 * len(self._entries)))

    def _is_table_usable(self) -> bool:
        """Whether the table as found lies in the file, in clusters of its own."""
        own = self._table_clusters()
        if not own or own.stop > self._facts.space.clusters:
            return False
        return bool(self._are_alone(np.arange(own.start, own.stop)).all())

    def _is_outgrown(self, clusters: int, needed: set[int]) -> bool:
        """Whether the table has no entry for a needed block, or for the refcounts of new ones."""
        new = len(needed) + len(needed) // self._per_block + 2 if self._allocator.can_grow else 0
        last = max(*needed, (clusters + new - 1) // self._per_block)
        return last >= len(self._entries)

    def _needed(self, clusters: int) -> set[int]:
        """Blocks that have to hold a refcount and have no place for it."""
        needed: set[int] = set()
        for first in range(0, clusters, _PIECE):
            end = min(first + _PIECE, clusters)
            used = np.flatnonzero(self._targets.any_referenced(first, end, self._per_block))
            used += first // self._per_block
            needed.update(used[~self._has_block(used)].tolist())
        if self._rebuild:
            needed.update(self._kept_blocks(clusters))
            return needed
        entries = self._entries
        missing = {i for i in needed if i >= len(entries) or not entries[i]}
        return {i for i in missing if self._gains(i, clusters)}

    def _gains(self, index: int, clusters: int) -> bool:
        """Whether the draft refers to any cluster of a block that did not have the reference."""
        begin = index * self._per_block
        end = min(begin + self._per_block, clusters)
        return any(
            self._targets.gains(first, min(first + _PIECE, end))
            for first in range(begin, end, _PIECE)
        )

    def _has_block(self, blocks: NDArray[np.int64]) -> NDArray[np.bool_]:
        inside = blocks < len(self._good)
        has = np.zeros(len(blocks), dtype=np.bool_)
        has[inside] = self._good[blocks[inside]]
        return has

    def _kept_blocks(self, clusters: int) -> Iterable[int]:
        """Blocks that cannot stay but hold refcounts which must be kept."""
        stored = self._facts.stored
        for index in np.flatnonzero(~self._good & (stored.offsets != 0)).tolist():
            if index * self._per_block >= clusters:
                break
            for chunk in stored.block_chunks(index, clusters):
                if chunk.values is None:
                    continue
                stretch = self._targets.of(chunk.first, chunk.values)
                if stretch.with_targets(stretch.target).any():
                    yield index
                    break

    def _adopt_and_drop(self) -> None:
        """Take stray bits out of entries that lead to a block all the same; drop the useless."""
        stored, facts = self._facts.stored, self._facts
        self._entries[~self._good] = 0
        claimed = facts.claimed_blocks
        for index in np.flatnonzero(~self._good & claimed).tolist():
            cluster = int(stored.offsets[index]) >> self._bits
            self._targets.add_reference(cluster, -1)
            # Whoever else claimed the place has a copy by now, or still has it.
            self._targets.replaced.add(cluster)
        unaligned = (stored.offsets & np.uint64(facts.space.cluster_size - 1)) != 0
        clusters = stored.offsets >> np.uint64(self._bits)
        inside = (clusters != 0) & (clusters < np.uint64(facts.space.clusters))
        for index in np.flatnonzero(~self._good & ~claimed & ~unaligned & inside).tolist():
            cluster = int(clusters[index])
            if not self._targets.references(cluster):
                self._targets.add_reference(cluster)
                self._entries[index] = stored.offsets[index]
                self._good[index] = True

    def _make_table(self, clusters: int, blocks: int) -> int:
        """Allocate a table large enough, and give up the old one."""
        old = self._table_clusters()
        start, length = old.start << self._bits, len(old) << self._bits
        if not self._drafted.space.is_beyond(start, length):
            for cluster in old:
                self._targets.add_reference(cluster, -1)
        counts = self._facts.references.counts
        # A place that only the header names may be anything; one with other owners is theirs.
        self._targets.replaced.update(
            c for c in old if self._table_usable or (c < len(counts) and counts[c] > 1)
        )
        last = int(np.flatnonzero(self._entries).max(initial=-1)) + 1
        size = 0
        wanted = 1
        while size < wanted:
            size = wanted
            # What is about to be made needs refcounts as well.
            end = clusters + size + blocks + 2 + size * self._per_cluster // self._per_block
            wanted = -(-max(last, -(-end // self._per_block) + 1) // self._per_cluster)
        if size * self._facts.space.cluster_size > MAX_REFCOUNT_TABLE_BYTES:
            raise UnsafePlanError("the refcount table would become larger than QEMU takes")
        offset = self._allocator.allocate(size)
        for cluster in range(offset >> self._bits, (offset >> self._bits) + size):
            self._targets.add_reference(cluster)
        entries = np.zeros(size * self._per_cluster, dtype=np.uint64)
        entries[:last] = self._entries[:last]
        good = np.zeros(len(entries), dtype=np.bool_)
        good[:last] = self._good[:last]
        self._entries, self._good = entries, good
        return offset

    def _make_blocks(self, needed: set[int], made: dict[int, int]) -> None:
        """Allocate the blocks, and those for the refcounts of what was allocated."""
        waiting = sorted(needed | self._of_the_new(made))
        while waiting:
            for index in waiting:
                if index >= len(self._entries):
                    raise UnsafePlanError("the refcount table has no room for another block")
                cluster = self._allocator.allocate(1) >> self._bits
                self._targets.add_reference(cluster)
                made[index] = cluster
            waiting = sorted(self._of_the_new(made))

    def _of_the_new(self, made: dict[int, int]) -> set[int]:
        """Blocks without a place that the clusters allocated here need."""
        own = {cluster // self._per_block for cluster, n in self._targets.changes.items() if n > 0}
        return {i for i in own - made.keys() if i >= len(self._good) or not self._good[i]}
