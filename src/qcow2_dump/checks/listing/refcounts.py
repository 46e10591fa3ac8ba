"""The refcount table in order, and each refcount beside the references that were counted.

For after a check, which leaves the counts. Clusters go from 0 to the larger of the virtual size
and the end of the file; past the latter nothing can be referred to.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from qcow2_dump.checks.facts import CheckFacts
from qcow2_dump.checks.mapping.entry_classes import EntryState
from qcow2_dump.checks.result import RefcountStatistics
from qcow2_dump.checks.stored import StoredChunk
from qcow2_dump.ondisk.mapping import REFCOUNT_TABLE_RESERVED_MASK

__all__ = ["BlockEnded", "BlockListed", "RefcountState", "RefcountsListed", "list_refcounts"]


class RefcountState(IntEnum):
    """How a stored refcount compares with the references."""

    UNUSED = 0
    USED = 1
    LEAK = 2
    ERROR = 3


@dataclass(frozen=True, slots=True)
class BlockListed:
    """A refcount table entry that is not zero, or one whose block is missing.

    ``place`` is its file offset in bytes, None past the end of the table; ``raw`` is as stored and
    ``offset`` that of its block in bytes, both 0 when the block is missing. Where the block is not
    ``readable``, its refcounts stand as 0.
    """

    index: int
    place: int | None
    raw: int
    offset: int
    state: EntryState
    faults: tuple[str, ...]
    readable: bool

    @property
    def is_bad(self) -> bool:
        """Whether anything is wrong with the entry itself."""
        return self.state >= EntryState.UNALIGNED or bool(self.faults)


@dataclass(frozen=True, slots=True)
class RefcountsListed:
    """Some refcounts of one block; arrays of one length, one item a cluster from ``first`` on.

    ``stored`` and ``counted`` are unsigned; ``states`` (uint8) is the RefcountState of each.
    ``too_many`` (bool) marks clusters with more references than a refcount can hold. ``rows``
    (int64) are the positions of those to show.
    """

    parent: BlockListed
    first: int
    stored: NDArray[np.unsignedinteger]
    counted: NDArray[np.unsignedinteger]
    states: NDArray[np.uint8]
    too_many: NDArray[np.bool_]
    rows: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class BlockEnded:
    """The end of a block, with the statistics of its clusters."""

    parent: BlockListed
    statistics: RefcountStatistics


def list_refcounts(
    facts: CheckFacts, *, bad_only: bool = False
) -> Iterator[BlockListed | RefcountsListed | BlockEnded]:
    """Each block that exists or should, then its refcounts in pieces, then its end.

    With ``bad_only`` what is in order is left out. Raises SourceError when a block cannot be read.
    """
    lister = _Lister(facts, bad_only)
    for index in _indices(facts):
        yield from lister.block(index)


def _indices(facts: CheckFacts) -> Iterator[int]:
    """The blocks to list: those with an entry, and those whose clusters are referred to."""
    per_block = facts.image.geometry.refcounts_per_block
    counts = facts.references.counts
    referenced = -(-len(counts) // per_block)
    entries = facts.stored.entries
    for index in range(referenced):
        exists = index < len(entries) and entries[index] != 0
        if exists or counts[index * per_block : (index + 1) * per_block].any():
            yield index
    yield from (np.flatnonzero(entries[referenced:]) + referenced).tolist()


class _Lister:
    """What stays the same from block to block."""

    def __init__(self, facts: CheckFacts, bad_only: bool) -> None:
        self._facts = facts
        self._bad_only = bad_only
        geometry = facts.image.geometry
        self._maximum = geometry.refcount_max
        self._per_block = geometry.refcounts_per_block
        self._clusters = max(facts.clusters, geometry.clusters(facts.image.header.size))

    def block(self, index: int) -> Iterator[BlockListed | RefcountsListed | BlockEnded]:
        """One entry of the refcount table, and what it leads to."""
        parent = self._entry(index)
        told = parent.is_bad or not self._bad_only
        if told:
            yield parent
        if index * self._per_block >= self._clusters:
            return
        statistics = RefcountStatistics()
        for chunk in self._facts.stored.block_chunks(index, self._clusters):
            listed = self._compare(parent, chunk)
            _count(statistics, listed)
            if not len(listed.rows):
                continue
            if not told:
                yield parent
                told = True
            yield listed
        if told:
            yield BlockEnded(parent, statistics)

    def _entry(self, index: int) -> BlockListed:
        facts, stored = self._facts, self._facts.stored
        if index >= len(stored.entries):
            return BlockListed(index, None, 0, 0, EntryState.UNUSED, (), readable=True)
        place = facts.image.header.refcount_table_offset + 8 * index
        raw, offset = int(stored.entries[index]), int(stored.offsets[index])
        faults = ("refcount.table-reserved",) if raw & REFCOUNT_TABLE_RESERVED_MASK else ()
        readable = not bool(stored.unreadable[index])
        return BlockListed(index, place, raw, offset, self._state(raw, offset), faults, readable)

    def _state(self, raw: int, offset: int) -> EntryState:
        """As the check counts it: reserved bits are no better than an unaligned offset."""
        space = self._facts.space
        if raw & REFCOUNT_TABLE_RESERVED_MASK or offset & (space.cluster_size - 1):
            return EntryState.UNALIGNED
        if offset >> space.cluster_bits >= self._facts.clusters:
            return EntryState.INVALID
        return EntryState.USED if offset else EntryState.UNUSED

    def _compare(self, parent: BlockListed, chunk: StoredChunk) -> RefcountsListed:
        counted = self._counted(chunk.first, chunk.end)
        stored = chunk.values
        if stored is None:
            stored = np.zeros(len(counted), dtype=np.uint8)
        too_many = np.zeros(len(counted), dtype=np.bool_)
        expected = counted
        if self._maximum < np.iinfo(counted.dtype).max:
            too_many = counted > self._maximum
            expected = np.minimum(counted, counted.dtype.type(self._maximum))
        states: NDArray[np.uint8] = (stored != 0).astype(np.uint8)  # USED is 1
        states[stored > expected] = RefcountState.LEAK
        states[stored < expected] = RefcountState.ERROR
        shown = np.ones(len(counted), dtype=np.bool_)
        if self._bad_only:
            shown = (states >= RefcountState.LEAK) | too_many
        rows = np.flatnonzero(shown)
        return RefcountsListed(parent, chunk.first, stored, counted, states, too_many, rows)

    def _counted(self, first: int, end: int) -> NDArray[np.unsignedinteger]:
        """The references of some clusters; none where the check had no reason to count."""
        counts = self._facts.references.counts[first:end]
        if len(counts) == end - first:
            return counts
        counted = np.zeros(end - first, dtype=counts.dtype)
        counted[: len(counts)] = counts
        return counted


def _count(statistics: RefcountStatistics, listed: RefcountsListed) -> None:
    unused, used, leak, error = np.bincount(listed.states, minlength=4).tolist()
    statistics.unused += unused
    statistics.used += used
    statistics.leak += leak
    statistics.error += error
    missing = (listed.states == RefcountState.ERROR) & (listed.stored == 0)
    statistics.rebuild += int(np.count_nonzero(missing))
