"""Findings about L2 entries: where an entry lies, whom it serves, which guest range it maps."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from qcow2_dump.checks.facts import CheckFacts
from qcow2_dump.checks.findings import Finding, FindingLog, Table
from qcow2_dump.checks.l2_tables import L2Batch
from qcow2_dump.ondisk import arrays
from qcow2_dump.ondisk.mapping import EntryFlag

__all__ = ["TablePlace", "report_copied"]


class TablePlace:
    """One L2 table of the walk, for making findings about its entries.

    ``entries`` are the raw first words of the part at hand (uint64), which starts at entry
    ``first``.
    """

    def __init__(
        self, facts: CheckFacts, table: int, first: int, entries: NDArray[np.uint64]
    ) -> None:
        self._facts = facts
        self._table = table
        self._first = first
        self._entries = entries
        self.weight = int(facts.tables.weight[table])
        self.active = int(facts.tables.active[table])
        self.offset = int(facts.tables.offset[table])
        self.l1_index = int(facts.tables.l1_index[table])

    def report(
        self,
        log: FindingLog,
        code: str,
        mask: NDArray[np.bool_],
        say: Callable[[int], str],
        *,
        times: int = 0,
        expect: Callable[[int], int | str] | None = None,
    ) -> None:
        """Log a finding for each entry that ``mask`` (bool[entries]) marks.

        ``times`` is what one place counts in the totals. ``say`` and ``expect`` turn the raw
        entry into words and into the value that it should have.
        """
        chosen = np.flatnonzero(mask)
        if not len(chosen):
            return
        size = self._facts.space.cluster_size
        start = self._guest_offset(0)
        inside = max(0, self._facts.image.header.size - start)
        hit = int(np.count_nonzero(chosen * size < inside)) * size

        def make(i: int) -> Finding:
            index = int(chosen[i])
            raw = int(self._entries[index])
            expected = expect(raw) if expect else None
            return self._finding(code, index, say(raw), times, expected)

        log.add_many(code, len(chosen), make, count=len(chosen) * times, guest_bytes=hit)

    def report_table(self, log: FindingLog, code: str, message: str, count: int) -> None:
        """Log one finding about the table as a whole."""
        facts = self._facts
        labels, total = facts.trees_of_table(self._table)
        start = self.l1_index * facts.image.geometry.l1_span
        log.add(
            Finding(
                code=code,
                message=message,
                offset=self.offset,
                table=Table("l2", self.offset),
                l1_index=self.l1_index,
                trees=labels,
                trees_total=total,
                count=count,
                guest_offset=start,
                guest_length=facts.guest_length(start, facts.image.geometry.l1_span),
            )
        )

    def _guest_offset(self, index: int) -> int:
        return self._facts.image.geometry.guest_offset(self.l1_index, self._first + index)

    def _finding(
        self,
        code: str,
        index: int,
        message: str,
        times: int,
        expected: int | str | None,
    ) -> Finding:
        facts = self._facts
        l2_index = self._first + index
        labels, total = facts.trees_of_table(self._table)
        guest = self._guest_offset(index)
        size = facts.space.cluster_size
        return Finding(
            code=code,
            message=f"L2 entry {l2_index}: {message}",
            offset=self.offset + l2_index * facts.image.geometry.l2_entry_size,
            table=Table("l2", self.offset),
            l1_index=self.l1_index,
            l2_index=l2_index,
            trees=labels,
            trees_total=total,
            count=times,
            value=int(self._entries[index]),
            expected=expected,
            guest_offset=guest,
            guest_length=facts.guest_length(guest, size),
        )


def report_copied(
    facts: CheckFacts,
    batch: L2Batch,
    rows: NDArray[np.int64],
    columns: NDArray[np.int64],
    clusters: NDArray[np.int64],
) -> None:
    """Log the active entries whose COPIED flag disagrees with the stored refcount.

    ``rows`` and ``columns`` place them in the batch, ``clusters`` are the host clusters that they
    map (all int64, one length). Where QEMU cannot read a refcount, it does not judge the flag.
    """
    tables = facts.tables
    readable = facts.stored.is_readable(clusters)
    if readable is not None:
        rows, columns, clusters = rows[readable], columns[readable], clusters[readable]
    for row in arrays.distinct(rows).tolist():
        table = int(batch.tables[row])
        offset = int(tables.offset[table])
        if offset == 0 or not _is_judged(facts, offset):
            continue
        chosen = rows == row
        place = TablePlace(facts, table, batch.first, batch.entries[row])
        count = int(np.count_nonzero(chosen)) * place.active
        if tables.misread[table]:
            message = f"{count} COPIED flags disagree in what is no L2 table"
            place.report_table(facts.log, "l2.misread", message, count)
            continue
        mask = np.zeros(batch.entries.shape[1], dtype=np.bool_)
        mask[columns[chosen]] = True
        stored = dict(
            zip(
                batch.entries[row][columns[chosen]][: facts.log.limit].tolist(),
                facts.stored.values_of(clusters[chosen][: facts.log.limit]).tolist(),
                strict=True,
            )
        )
        place.report(
            facts.log,
            "l2.copied",
            mask,
            lambda raw, stored=stored: _say_copied(raw, stored.get(raw)),  # type: ignore[misc]
            times=place.active,
            expect=lambda raw: raw ^ int(EntryFlag.COPIED),
        )


def _is_judged(facts: CheckFacts, offset: int) -> bool:
    """Whether the table's own refcount can be read; if not, QEMU skips the table."""
    cluster = np.array([offset >> facts.space.cluster_bits], dtype=np.int64)
    readable = facts.stored.is_readable(cluster)
    return readable is None or bool(readable[0])


def _say_copied(raw: int, stored: int | None) -> str:
    flag = "is set" if raw & EntryFlag.COPIED else "is missing"
    return f"{raw:#018x}, COPIED {flag} though the cluster's refcount is {stored}"
