"""One finding, and the log that counts all of them and keeps the first of each kind.

Totals are never capped; details are: an image may hold millions of bad entries, and neither
memory nor a reader has room for them.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Literal

from qcow2_dump.checks.catalogue import RULES, Rule, Severity

__all__ = ["LEAST_KEPT", "Claimant", "Finding", "FindingLog", "Table", "Tally", "Triage"]

Triage = Literal["waste", "orphan"]
"""What may be done about a leak: free it, or keep it because it may be guest data."""


@dataclass(frozen=True, slots=True)
class Table:
    """A metadata structure: what it is (``l2``, ``refcount_block``, ...) and its file offset."""

    kind: str
    offset: int


@dataclass(frozen=True, slots=True)
class Claimant:
    """One owner of a host cluster.

    ``kind`` is ``data``, ``compressed`` or the kind of a metadata structure; ``offset`` is the file
    offset of the field that names the structure: a table entry, or an offset in the header, in a
    header extension, in a snapshot record or in the bitmap directory. Nothing names the header
    itself: its offset is 0. Of bitmap data it is the start of the table that names it. Guest
    offset in bytes; ``trees`` as in `Finding`.
    """

    kind: str
    offset: int
    guest_offset: int | None = None
    l1_index: int | None = None
    l2_index: int | None = None
    trees: tuple[str, ...] = ()
    trees_total: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that is wrong, at one place.

    ``offset`` is the file offset of the bad field in bytes, ``value`` what it holds and
    ``expected`` what it should. ``trees`` names the first trees that reach the place (``active``
    or a snapshot's ID) and ``trees_total`` says how many do. ``count`` is its share of the totals,
    where a place counts once per walk that meets it, as in ``qemu-img check``. ``settled`` is False
    where it may be the work in progress of somebody who is writing. ``cluster`` is a
    host cluster index; guest offset and length are in bytes. ``claimants`` are the first owners of
    a cluster and ``claimants_total`` says how many there are: at least so many, where the message
    says so, since not all of millions are told apart.
    """

    code: str
    message: str
    offset: int | None = None
    table: Table | None = None
    l1_index: int | None = None
    l2_index: int | None = None
    trees: tuple[str, ...] = ()
    trees_total: int = 0
    count: int = 0
    settled: bool = True
    triage: Triage | None = None
    value: int | None = None
    expected: int | str | None = None
    cluster: int | None = None
    claimants: tuple[Claimant, ...] = ()
    claimants_total: int = 0
    guest_offset: int | None = None
    guest_length: int | None = None

    @property
    def rule(self) -> Rule:
        """The row of the catalogue that this finding is an instance of."""
        return RULES[self.code]

    @property
    def severity(self) -> Severity:
        """How bad: the severity of its rule."""
        return self.rule.severity

    @property
    def repair_option(self) -> str | None:
        """The option of ``repair`` that mends it, or None where nothing may be done by itself."""
        return self.rule.option if self.settled and self.triage != "orphan" else None


@dataclass(slots=True)
class Tally:
    """All findings of one code, listed or not: places, their share of the totals, guest bytes.

    ``unsettled`` says how many of the places may be the work in progress of a writer.
    """

    places: int = 0
    count: int = 0
    guest_bytes: int = 0
    unsettled: int = 0

    @property
    def settled(self) -> bool:
        """Whether any of the places is there for good."""
        return self.places > self.unsettled


LEAST_KEPT = 1000
"""Findings of a code that are kept in any case."""


@dataclass(slots=True)
class FindingLog:
    """Counts every finding by code and keeps the first ones of each code.

    ``limit`` is how many are wanted. At least ``LEAST_KEPT`` are kept: what a check concludes from
    them must not depend on how many somebody wants to see. Findings of ``ignored`` codes are not
    even counted.
    """

    limit: int = 1000
    ignored: frozenset[str] = frozenset()
    tallies: dict[str, Tally] = field(default_factory=dict)
    _kept: dict[str, list[Finding]] = field(default_factory=dict)
    _fresh: list[Finding] = field(default_factory=list)

    def add(self, finding: Finding) -> None:
        """Count one finding, and keep it while there is room for its code."""
        if finding.code in self.ignored:
            return
        tally = self._tally(finding.code)
        tally.places += 1
        tally.count += finding.count
        tally.guest_bytes += finding.guest_length or 0
        self._keep(finding)

    def add_many(
        self,
        code: str,
        places: int,
        make: Callable[[int], Finding],
        *,
        count: int,
        guest_bytes: int = 0,
    ) -> None:
        """Count ``places`` findings of one code; ``make(i)`` is asked only for those kept."""
        if not places or code in self.ignored:
            return
        tally = self._tally(code)
        tally.places += places
        tally.count += count
        tally.guest_bytes += guest_bytes
        for i in range(min(places, self.room(code))):
            self._keep(make(i))

    def room(self, code: str) -> int:
        """How many more findings of this code would be kept."""
        return max(0, max(self.limit, LEAST_KEPT) - len(self._kept.get(code, ())))

    def replace(self, code: str, findings: Iterable[Finding]) -> None:
        """Put findings that know more (claimants, triage) in the place of those kept."""
        self._kept[code] = list(findings)

    def kept(self, code: str) -> list[Finding]:
        """The findings of one code that were kept, in the order of their discovery."""
        return list(self._kept.get(code, ()))

    def drain(self) -> Iterator[Finding]:
        """The wanted findings since the last call, for whoever shows them as they come."""
        fresh, self._fresh = self._fresh, []
        yield from fresh

    def places(self, *codes: str) -> int:
        """How many places were found, over some codes."""
        return sum(self.tallies[code].places for code in codes if code in self.tallies)

    def count(self, severity: Severity) -> int:
        """The share of one severity in the totals."""
        return sum(t.count for code, t in self.tallies.items() if RULES[code].severity is severity)

    def listed(self) -> list[Finding]:
        """The findings to show: worst first, in the catalogue's order, at most ``limit``.

        Where not all fit, a code with many findings makes room for those with few.
        """
        order = {code: position for position, code in enumerate(RULES)}
        codes = sorted(self._kept, key=lambda code: (RULES[code].severity.rank, order[code]))
        shares: dict[str, int] = {}
        left = self.limit
        for done, code in enumerate(sorted(codes, key=lambda code: len(self._kept[code]))):
            shares[code] = min(len(self._kept[code]), left // (len(codes) - done))
            left -= shares[code]
        return [finding for code in codes for finding in self._kept[code][: shares[code]]]

    @property
    def total(self) -> int:
        """How many findings there are, kept or not."""
        return sum(tally.places for tally in self.tallies.values())

    def _tally(self, code: str) -> Tally:
        return self.tallies.setdefault(code, Tally())

    def _keep(self, finding: Finding) -> None:
        if self.room(finding.code):
            kept = self._kept.setdefault(finding.code, [])
            kept.append(finding)
            if len(kept) <= self.limit:
                self._fresh.append(finding)
