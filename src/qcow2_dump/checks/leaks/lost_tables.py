"""Which leaked clusters read as L1 or L2 tables (repair rules, section 1, rule (c)).

Data hardly ever does: an entry of a table leads to a cluster start in the file with all reserved
bits clear, or to a compressed stream. What a lost table leads to is leaked as well, since nothing
else refers to it.
"""

from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from qcow2_dump.checks.bitset import BitSet
from qcow2_dump.checks.facts import CheckFacts
from qcow2_dump.checks.leaks.metadata_clusters import metadata_clusters
from qcow2_dump.checks.pass_refcounts import LeakMap
from qcow2_dump.ondisk.constants import CompatibleFeature
from qcow2_dump.ondisk.mapping import L2_OFFSET_MASK, L2_RESERVED_MASK, EntryFlag

__all__ = ["TableJudge", "TableLooks"]

_Words = NDArray[np.uint64]
_Flags = NDArray[np.bool_]

_COMPRESSED = np.uint64(int(EntryFlag.COMPRESSED))
_COPIED = np.uint64(int(EntryFlag.COPIED))
_OFFSET = np.uint64(L2_OFFSET_MASK)
# Every eighth word tells noise from tables; a table of which these are all damaged is none.
_STRIDE = 8
_ENOUGH = 16


class TableLooks(NamedTuple):
    """What some clusters look like, bool[clusters] each.

    ``table``: a lost table by rule (c). ``pure``: every entry seen leads into the file, so that
    more of the cluster has to be seen. ``silent``: no entry seen at all.
    """

    table: _Flags
    pure: _Flags
    silent: _Flags


class TableJudge:
    """Judges leaked clusters by their words, uint64[clusters, words]."""

    def __init__(self, facts: CheckFacts, leaks: LeakMap) -> None:
        self._facts = facts
        self._leaks = leaks
        bits = facts.space.cluster_bits
        unaligned = facts.space.cluster_size - 1 & ~511
        self._crooked = np.uint64(L2_RESERVED_MASK | unaligned)
        self._stream = np.uint64((1 << facts.image.geometry.compressed_offset_bits) - 1)
        self._shift = np.uint64(bits)
        self._end = np.uint64(facts.space.end)

    def judge(self, words: _Words) -> TableLooks:
        """What these clusters look like."""
        silent: _Flags = np.logical_not(_entries(words).any(axis=1))
        looks = TableLooks(np.zeros_like(silent), np.zeros_like(silent), silent)
        if self._facts.image.header.has_data_file:
            self._judge_data_file(words, looks)
        rows = np.flatnonzero(~silent & ~looks.table & self._may_be_table(words))
        if len(rows):
            self._judge_rows(words, rows, looks)
        return looks

    def _judge_rows(self, words: _Words, rows: NDArray[np.int64], looks: TableLooks) -> None:
        chosen = words[rows]
        views = [chosen]
        if self._facts.image.geometry.extended_l2:
            # An L1 table has no bitmaps between its entries, an L2 table does.
            views.append(chosen[:, ::2])
        for view in views:
            table, pure = self._leads_to_leaks(view)
            looks.table[rows] |= table
            looks.pure[rows] |= pure

    def _may_be_table(self, words: _Words) -> _Flags:
        """Which clusters are not plainly something else, by a sample of their words."""
        sample = words[:, ::_STRIDE]
        entries = np.count_nonzero(_entries(sample), axis=1)
        may_be: _Flags = (entries < _ENOUGH) | (self._targets(sample) >= 0).any(axis=1)
        return may_be

    def _leads_to_leaks(self, words: _Words) -> tuple[_Flags, _Flags]:
        """Which are lost tables, and of which every entry leads into the file."""
        number = np.count_nonzero(_entries(words), axis=1)
        row, column = np.nonzero((targets := self._targets(words)) >= 0)
        held = targets[row, column]
        lost = self._leaks.unreferenced.contains(held)
        more = self._leaks.overcounted.contains(held)
        rows = len(words)
        to_lost = np.bincount(row[lost], minlength=rows)
        leaked = lost | more
        if CompatibleFeature.LAZY_REFCOUNTS in self._facts.image.header.compatible:
            # What was allocated last may not be counted yet, and is no leak for that reason.
            leaked |= self._facts.counted.unused(held)
        to_leaks = np.bincount(row[leaked], minlength=rows)
        pure = (np.bincount(row, minlength=rows) == number) & (number > 0)
        table = (to_leaks * 2 > number) & (to_lost > 0)
        if len(self._facts.trees) > 1 and pure.any():
            table |= pure & (number > 1) & self._differs_by_leaks(rows, row, held, lost, more)
        return table, pure

    def _differs_by_leaks(
        self,
        rows: int,
        row: NDArray[np.int64],
        held: NDArray[np.int64],
        lost: _Flags,
        more: _Flags,
    ) -> _Flags:
        """Which clusters lead to leaks, and else only to clusters that several trees have.

        So does a lost table that differs little from another tree's. A copy that QEMU was about
        to link leads to no leak, and one of an L1 table to none but other tables.
        """
        own = lost | (more & ~self._metadata.contains(held))
        alone = ~lost & ~more & ~self._facts.counted.several(held)
        own_count = np.bincount(row[own], minlength=rows)
        differs: _Flags = (own_count > 0) & (np.bincount(row[alone], minlength=rows) == 0)
        return differs

    @cached_property
    def _metadata(self) -> BitSet:
        return metadata_clusters(self._facts)

    def _targets(self, words: _Words) -> NDArray[np.int64]:
        """The host cluster that each word leads to as an entry, -1 for none: int64."""
        compressed = (words & _COMPRESSED) != 0
        offsets = words & _OFFSET
        good = ((words & self._crooked) == 0) & (offsets != 0)
        if compressed.any():
            np.copyto(good, (words & _COPIED) == 0, where=compressed)
            np.copyto(offsets, words & self._stream, where=compressed)
        good &= offsets < self._end
        clusters = (offsets >> self._shift).view(np.int64)
        return np.where(good, clusters, np.int64(-1))

    def _judge_data_file(self, words: _Words, looks: TableLooks) -> None:
        """Tables that lead to the data file, where each offset equals the guest's.

        The entries then tell where the table belongs: all of them the same.
        """
        facts, geometry = self._facts, self._facts.image.geometry
        raw = words[:, ::2] if geometry.extended_l2 else words
        good = ((raw & (self._crooked | _COMPRESSED)) == 0) & ((raw & _COPIED) != 0)
        place = np.arange(raw.shape[1], dtype=np.int64) << geometry.cluster_bits
        start = (raw & _OFFSET).view(np.int64) - place
        good &= (start >= 0) & (start < facts.image.header.size)
        good &= start % geometry.l1_span == 0
        agree = np.where(good, start, np.int64(-1))
        alike = np.count_nonzero(good & (agree == agree.max(axis=1, keepdims=True)), axis=1)
        looks.table[:] |= alike * 2 > np.count_nonzero(_entries(raw), axis=1)


def _entries(words: _Words) -> _Flags:
    """Which words can be entries at all: neither unallocated nor plain zeros."""
    entries: _Flags = words > 1
    return entries
