"""What a check leaves: statistics, tallies, findings, the verdict."""

from dataclasses import dataclass, field

from qcow2_dump.checks.catalogue import RULES, Impact, Severity
from qcow2_dump.checks.findings import Finding, Tally
from qcow2_dump.checks.verdict import Verdict

__all__ = [
    "CheckResult",
    "LeakTriage",
    "RefcountStatistics",
    "Statistics",
    "TableStatistics",
    "TreeStatistics",
]


@dataclass(slots=True)
class Statistics:
    """QEMU's ``ImageCheck`` totals, with its meaning and its numbers (format rules 8.9, 8.10).

    ``image_end_offset`` in bytes; the others in clusters, or in findings as QEMU counts them.
    """

    image_end_offset: int = 0
    total_clusters: int = 0
    allocated_clusters: int = 0
    fragmented_clusters: int = 0
    compressed_clusters: int = 0
    corruptions: int = 0
    leaks: int = 0
    check_errors: int = 0


@dataclass(slots=True)
class TableStatistics:
    """The entries of one kind of table, each counted in exactly one of the first four.

    ``used`` includes compressed and preallocated (zero) clusters, ``unused`` includes zero-plain
    entries; ``invalid`` lies past the end of the file. ``compressed`` says how many of ``used``
    are compressed.
    """

    unaligned: int = 0
    invalid: int = 0
    unused: int = 0
    used: int = 0
    compressed: int = 0

    @property
    def entries(self) -> int:
        """How many entries exist."""
        return self.unaligned + self.invalid + self.unused + self.used


@dataclass(slots=True)
class TreeStatistics:
    """The tables of the active layer or of one snapshot.

    ``index`` is the position in the snapshot table, None for the active layer; ``examined`` is
    False where the L1 table is unusable.
    """

    index: int | None
    examined: bool = True
    l1: TableStatistics = field(default_factory=TableStatistics)
    l2: TableStatistics = field(default_factory=TableStatistics)


@dataclass(slots=True)
class RefcountStatistics:
    """Refcounts against references, in clusters, over the larger of virtual size and file.

    ``rebuild`` says how many of ``error`` have a stored refcount of 0 under a reference. Past the
    end of the file a refcount counts as a leak here, though not in QEMU's totals.
    """

    error: int = 0
    leak: int = 0
    unused: int = 0
    used: int = 0
    rebuild: int = 0


@dataclass(slots=True)
class LeakTriage:
    """What may be done about the leaks (repair rules, section 1), in clusters.

    ``reasons`` says, in words and worst first, why leaks may be guest data; none of them means
    that every leak is waste.
    """

    reasons: tuple[str, ...] = ()
    waste: int = 0
    orphans: int = 0


@dataclass(slots=True, kw_only=True)
class CheckResult:
    """Everything that a check found.

    ``tallies`` counts every finding by code, ``findings`` holds those that were kept, worst
    first, and ``omitted`` says how many were not. ``refusal`` is why qemu-img 7.2 would not open
    the image or would give up checking it, None where it would not. ``complete`` is False when
    the check was interrupted: then nothing is said of refcounts.
    """

    cluster_size: int
    statistics: Statistics
    trees: list[TreeStatistics]
    refcount_table: TableStatistics
    refcounts: RefcountStatistics
    triage: LeakTriage
    tallies: dict[str, Tally]
    findings: list[Finding]
    omitted: int
    refusal: str | None = None
    complete: bool = True
    bitmaps: int = 0

    @property
    def verdict(self) -> Verdict:
        """The verdict by the precedence of the exit-status table.

        What is unsettled never counts as more than something to look at.
        """
        found = {RULES[code].verdict for code, tally in self.tallies.items() if tally.settled}
        if self.unsettled:
            found.add(Verdict.OTHER)
        worst = Verdict.worst(found)
        if self.refusal is not None and worst in (Verdict.LEAK, Verdict.GOOD):
            return Verdict.OTHER
        in_full = self.complete and "check.incomplete" not in self.tallies
        if worst is Verdict.FLAGGED and not in_full:
            return Verdict.FLAG
        return worst

    @property
    def unsettled(self) -> bool:
        """Whether anything worse than a note may be the work in progress of a writer."""
        return any(
            tally.unsettled and RULES[code].verdict is not Verdict.GOOD
            for code, tally in self.tallies.items()
        )

    def kinds(self, *severities: Severity) -> list[str]:
        """The codes found, settled or not, of some severities, in the catalogue's order."""
        found = [code for code in RULES if code in self.tallies]
        return [code for code in found if RULES[code].severity in severities]

    def settled_kinds(self, *severities: Severity) -> list[str]:
        """The codes of which anything is settled, of some severities, in the same order."""
        return [code for code in self.kinds(*severities) if self.tallies[code].settled]

    def guest_bytes(self, impact: Impact) -> int:
        """Bytes of the guest's disk that the findings of one impact name, if any is settled."""
        named = [
            tally
            for code, tally in self.tallies.items()
            if RULES[code].impact is impact and tally.settled
        ]
        return sum(tally.guest_bytes for tally in named)
