"""L2 tables of which nothing is out of the ordinary, judged run by run (format section 8.4).

Runs of clusters in a row are all that most tables hold. What `pass_l2` finds out entry by entry
is the same for each entry of a run, and found out once.
"""

import numpy as np
from numpy.typing import NDArray

from qcow2_dump.checks.facts import CheckFacts
from qcow2_dump.checks.mapping.fragments import count_fragments
from qcow2_dump.checks.mapping.l2_places import report_copied
from qcow2_dump.checks.tables.entry_runs import EntryRuns, entry_runs
from qcow2_dump.checks.tables.l2_batches import L2Batch
from qcow2_dump.ondisk import arrays

__all__ = ["RegularTables"]

_Indices = NDArray[np.int64]


class RegularTables:
    """Takes the batches that hold only runs of plain entries, each where it may be.

    ``odd_bits`` are those that no plain entry has.
    """

    def __init__(self, facts: CheckFacts, odd_bits: np.uint64) -> None:
        self._facts = facts
        self._odd_bits = odd_bits

    def take(self, batch: L2Batch) -> bool:
        """Count and judge a batch; False, and nothing is done, where it is not of this kind."""
        facts, tables = self._facts, self._facts.tables
        if batch.bitmaps is not None or facts.image.header.has_data_file:
            return False
        groups = batch.entries.reshape(-1, batch.members, batch.entries.shape[1])
        if batch.members > 1 and (groups[:, 1:] != groups[:, :1]).any():
            return False
        runs = entry_runs(groups[:, 0], facts.space.cluster_size)
        if runs is None:
            return False
        if not len(runs.row):
            return True
        first = facts.cluster_indices(arrays.l2_offsets(runs.raw))
        end = first + runs.length
        if not self._all_plain(batch, runs) or first.min() == 0 or end.max() > facts.space.clusters:
            return False
        members = batch.tables.reshape(-1, batch.members)
        held = _sums_by_row(runs, len(members))
        tables.used[members] += held[:, np.newaxis]
        tables.empty[members[held > 0]] = False
        self._note_lowest(batch, runs.row, first)
        self._claim(members, runs.row, first, end)
        facts.last_data = max(facts.last_data, (int(end.max()) - 1) << facts.space.cluster_bits)
        if not facts.only_counting:
            self._judge_active(batch, runs, first, end)
        return True

    def _note_lowest(self, batch: L2Batch, row: _Indices, first: _Indices) -> None:
        """Note the lowest clusters to which tables lead, of which this may be a later part."""
        tables = self._facts.tables
        heads = np.flatnonzero(np.append(True, row[1:] != row[:-1]))
        lowest = np.full(len(batch.tables) // batch.members, np.iinfo(np.int64).max)
        lowest[row[heads]] = np.minimum.reduceat(first, heads)
        found = np.repeat(lowest, batch.members)
        if batch.first:
            found = np.minimum(found, tables.lowest[batch.tables])
        tables.lowest[batch.tables] = found

    def _claim(self, members: _Indices, row: _Indices, first: _Indices, end: _Indices) -> None:
        """Count the claims of runs, each by all tables of its row of ``members``."""
        tables, references = self._facts.tables, self._facts.references
        weights, owns = tables.weight[members].sum(axis=1), tables.own[members].sum(axis=1)
        if (weights != weights[0]).any() or (owns != owns[0]).any():
            references.claim_runs(first, end, weights[row], owns[row])
            return
        # A run may have ended for its COPIED flag, or with its table: claims do not mind.
        apart = np.flatnonzero(first[1:] != end[:-1])
        first, end = first[np.append(0, apart + 1)], end[np.append(apart, len(end) - 1)]
        weight, own = (np.full_like(first, number[0]) for number in (weights, owns))
        references.claim_runs(first, end, weight, own)

    def _all_plain(self, batch: L2Batch, runs: EntryRuns) -> bool:
        """Whether tables are where tables may be, and entries without odd bits inside the disk."""
        facts, tables = self._facts, self._facts.tables
        if tables.misread[batch.tables].any():
            return False
        if int(np.bitwise_or.reduce(runs.raw)) & int(self._odd_bits):
            return False
        inside = facts.inside[batch.tables].reshape(-1, batch.members).min(axis=1) - batch.first
        if inside.min() >= batch.entries.shape[1]:
            return True
        return bool((runs.column + runs.length <= inside[runs.row]).all())

    def _judge_active(
        self, batch: L2Batch, runs: EntryRuns, first: _Indices, end: _Indices
    ) -> None:
        """Fragments and COPIED flags, which only mean something in the active layer."""
        tables = self._facts.tables
        for member in range(batch.members):
            these = batch.tables[member :: batch.members]
            active = tables.active[these] != 0
            if not active.any():
                continue
            chosen: slice | _Indices = slice(None)
            if not active.all():
                chosen = np.flatnonzero(active[runs.row])
            row, bits = runs.row[chosen], self._facts.space.cluster_bits
            counts = np.bincount(row, minlength=len(these))[active]
            start, behind = first[chosen] << bits, end[chosen] << bits
            count_fragments(self._facts, these[active], counts, start, behind)
            wrong = self._wrong_copied(runs.raw[chosen], first[chosen], end[chosen])
            if len(wrong):
                row = row[wrong] * batch.members + member
                places = row, runs.column[chosen][wrong], first[chosen][wrong]
                self._report_copied(batch, runs.length[chosen][wrong], places)

    def _wrong_copied(self, raw: NDArray[np.uint64], first: _Indices, end: _Indices) -> _Indices:
        """The runs in which some COPIED flag disagrees with the stored refcount."""
        ones = self._facts.stored.count_ones(first, end)
        expected = np.where(raw.view(np.int64) < 0, end - first, 0)
        return np.flatnonzero(ones != expected)

    def _report_copied(
        self,
        batch: L2Batch,
        length: _Indices,
        places: tuple[_Indices, _Indices, _Indices],
    ) -> None:
        """Look at some runs entry by entry, by the row, the column and the cluster of the first."""
        within = np.arange(int(length.sum())) - np.repeat(np.cumsum(length) - length, length)
        row, column, cluster = (np.repeat(place, length) for place in places)
        column += within
        cluster += within
        copied = batch.entries[row, column].view(np.int64) < 0
        wrong = np.flatnonzero(self._facts.stored.is_one(cluster) != copied)
        report_copied(self._facts, batch, row[wrong], column[wrong], cluster[wrong])


def _sums_by_row(runs: EntryRuns, rows: int) -> _Indices:
    """How many entries each row has in its runs: int64[rows]."""
    behind = np.append(0, np.cumsum(np.bincount(runs.row, minlength=rows)))
    sums: _Indices = np.diff(np.append(0, np.cumsum(runs.length))[behind])
    return sums
