"""Findings about L2 entries: where an entry lies, whom it serves, which guest range it maps."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from qcow2_dump.checks.facts import CheckFacts
from qcow2_dump.checks.findings import Finding, Table
from qcow2_dump.checks.tables.l2_batches import L2Batch
from qcow2_dump.ondisk.mapping import EntryFlag

__all__ = ["L2Places", "report_copied"]

_Indices = NDArray[np.int64]


class L2Places:
    """Some rows of a batch, for making findings about their entries.

    ``raw`` are the first words of the entries, uint64[rows, columns]. ``weight`` and ``active``
    say how many trees, and how many times the active layer, lead to each row: int64[rows]. What
    is wrong in a table that QEMU only takes for one is counted, but not told entry by entry.
    """

    def __init__(self, facts: CheckFacts, batch: L2Batch, rows: _Indices) -> None:
        self.facts = facts
        self.tables = batch.tables[rows]
        self.raw = np.ascontiguousarray(batch.entries[rows])
        self.first = batch.first
        self.weight = facts.tables.weight[self.tables]
        self.active = facts.tables.active[self.tables]
        self.misread = facts.tables.misread[self.tables]
        self._misread_counts = np.zeros(len(rows), dtype=np.int64)
        self._trees: dict[int, tuple[tuple[str, ...], int]] = {}

    def guest_offsets(self, row: _Indices, column: _Indices) -> _Indices:
        """The guest offsets in bytes that some entries map: int64."""
        geometry = self.facts.image.geometry
        start = self.facts.tables.l1_index[self.tables[row]] * geometry.l1_span
        return start + ((column + self.first) << geometry.cluster_bits)

    def report(
        self,
        code: str,
        mask: NDArray[np.bool_],
        say: Callable[[int], str],
        *,
        times: _Indices | None = None,
        expect: Callable[[int], int | str] | None = None,
    ) -> None:
        """Log a finding for each entry that ``mask`` (bool[rows, columns]) marks.

        ``times`` is what one place of each row counts in the totals, nothing by default. ``say``
        and ``expect`` turn the raw entry into words and into the value that it should have.
        """
        row, column = np.nonzero(mask)
        if len(row):
            self.report_at(code, row, column, lambda raw, _: say(raw), times=times, expect=expect)

    def report_at(
        self,
        code: str,
        row: _Indices,
        column: _Indices,
        say: Callable[[int, int], str],
        *,
        times: _Indices | None = None,
        expect: Callable[[int], int | str] | None = None,
    ) -> None:
        """As `report`, for entries by their places; ``say`` also gets the number of the finding."""
        facts = self.facts
        counted = np.zeros(len(row), dtype=np.int64) if times is None else times[row]
        odd = self.misread[row]
        if odd.any():
            np.add.at(self._misread_counts, row[odd], counted[odd])
            row, column, counted = row[~odd], column[~odd], counted[~odd]
        guest = self.guest_offsets(row, column)
        size = facts.space.cluster_size
        hit = int(np.count_nonzero(guest < min(facts.image.header.size, np.iinfo(np.int64).max)))

        def make(i: int) -> Finding:
            at = int(row[i]), int(column[i])
            raw = int(self.raw[at])
            expected = expect(raw) if expect else None
            return self._finding(code, at, int(guest[i]), say(raw, i), int(counted[i]), expected)

        facts.log.add_many(code, len(row), make, count=int(counted.sum()), guest_bytes=hit * size)

    def report_misread(self, rows: _Indices, say: Callable[[int, int], str]) -> None:
        """Log a finding for each of some rows that are no tables, with all that was counted there.

        ``say`` makes words of the table's offset and the count.
        """
        facts, counts = self.facts, self._misread_counts[rows]
        tables = self.tables[rows]
        span = facts.image.geometry.l1_span
        start = facts.tables.l1_index[tables] * span

        def make(i: int) -> Finding:
            offset, count = int(facts.tables.offset[tables[i]]), int(counts[i])
            labels, total = facts.trees_of_table(int(tables[i]))
            return Finding(
                code="l2.misread",
                message=say(offset, count),
                offset=offset,
                table=Table("l2", offset),
                l1_index=int(facts.tables.l1_index[tables[i]]),
                trees=labels,
                trees_total=total,
                count=count,
                guest_offset=int(start[i]),
                guest_length=facts.guest_length(int(start[i]), span),
            )

        lost = sum(facts.guest_length(at, span) for at in start.tolist())
        facts.log.add_many("l2.misread", len(rows), make, count=int(counts.sum()), guest_bytes=lost)

    def _finding(
        self,
        code: str,
        at: tuple[int, int],
        guest: int,
        message: str,
        times: int,
        expected: int | str | None,
    ) -> Finding:
        facts, table = self.facts, int(self.tables[at[0]])
        l2_index = self.first + at[1]
        start = int(facts.tables.offset[table])
        if table not in self._trees:
            self._trees[table] = facts.trees_of_table(table)
        labels, total = self._trees[table]
        return Finding(
            code=code,
            message=f"L2 entry {l2_index}: {message}",
            offset=start + l2_index * facts.image.geometry.l2_entry_size,
            table=Table("l2", start),
            l1_index=int(facts.tables.l1_index[table]),
            l2_index=l2_index,
            trees=labels,
            trees_total=total,
            count=times,
            value=int(self.raw[at]),
            expected=expected,
            guest_offset=guest,
            guest_length=facts.guest_length(guest, facts.space.cluster_size),
        )


def report_copied(
    facts: CheckFacts, batch: L2Batch, row: _Indices, column: _Indices, clusters: _Indices
) -> None:
    """Log the active entries whose COPIED flag disagrees with the stored refcount.

    ``row`` and ``column`` place them in the batch, ``clusters`` are the host clusters that they
    map (all int64, one length). Where QEMU cannot read a refcount, it does not judge the flag.
    """
    offset = facts.tables.offset[batch.tables[row]]
    judged = offset != 0
    # If the table's own refcount cannot be read, QEMU skips the table.
    for needed in (clusters, offset >> facts.space.cluster_bits):
        readable = facts.stored.is_readable(needed)
        if readable is not None:
            judged &= readable
    row, column, clusters = row[judged], column[judged], clusters[judged]
    places = L2Places(facts, batch, np.arange(len(batch.tables)))
    told = ~places.misread[row]
    stored = facts.stored.values_of(clusters[told][: facts.log.room("l2.copied")])
    places.report_at(
        "l2.copied",
        row,
        column,
        lambda raw, i: _say_copied(raw, int(stored[i])),
        times=places.active,
        expect=lambda raw: raw ^ int(EntryFlag.COPIED),
    )
    wrong = np.zeros(len(batch.tables), dtype=np.bool_)
    wrong[row[~told]] = True
    places.report_misread(
        np.flatnonzero(wrong),
        lambda offset, count: (
            f"{count} COPIED flags disagree at {offset:#x}, in what is no L2 table"
        ),
    )


def _say_copied(raw: int, stored: int) -> str:
    flag = "is set" if raw & EntryFlag.COPIED else "is missing"
    return f"{raw:#018x}, COPIED {flag} though the cluster's refcount is {stored}"
