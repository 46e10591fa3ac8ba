"""Which findings of a check stand, and which may be the work of somebody who writes meanwhile.

A writer changes tables while they are read, and a walk takes them from different moments. Two
tables that have to agree - refcounts and references, COPIED flags, the owners of a cluster - can
then disagree without any damage, for as long as the writer keeps changes in memory: what is found
about them is unsettled, whatever a second look says.

All else is about one place and what leads to it. It is looked at once more, with the header, the
tables and the size of the file as they then are, and stands if the same is found at the same
place again. A table that was given up and overwritten, or an entry that pointed past the end of a
file that was about to grow, is not found twice. What is unsettled stays in the report and in the
totals, which are those of the first walk.
"""

from dataclasses import replace

from qcow2_dump.checks.checker import Checker
from qcow2_dump.checks.findings import Finding, FindingLog, Tally
from qcow2_dump.checks.result import CheckResult

__all__ = ["needs_second_look", "settle"]

_COMPARED = frozenset(
    {
        "refcount.low",
        "refcount.overflow",
        "refcount.leak",
        "refcount.block-missing",
        "refcount.block-shared",
        "refcount.beyond-end",
        "l1.copied",
        "l2.copied",
        "cluster.shared",
        # What follows from leaks, or from a refcount beside a table.
        "l2.wiped",
        "l2.empty",
        "leak.orphan-table",
        "snapshot.lost-table",
    }
)
"""The codes that compare tables with each other."""


def needs_second_look(result: CheckResult) -> bool:
    """Whether a second look can settle anything."""
    found = {code for code, tally in result.tallies.items() if tally.places}
    return result.refusal is not None or not found <= _COMPARED


def settle(first: Checker, second: Checker | None) -> CheckResult:
    """The result of the first check, with what is unsettled marked as such.

    ``second`` has checked the image in the same way after the first; None where it could not be
    checked again or need not be: then nothing stands.
    """
    result = first.result()
    log = None if second is None else second.log
    refusal = None if second is None else second.result().refusal
    again = {code: _marks(log, code) for code in result.tallies}
    return replace(
        result,
        tallies={
            code: replace(tally, unsettled=tally.places - _standing(code, tally, first.log, log))
            for code, tally in result.tallies.items()
        },
        findings=[
            finding if _mark(finding) in again[finding.code] else replace(finding, settled=False)
            for finding in result.findings
        ],
        refusal=result.refusal if result.refusal == refusal else None,
    )


def _standing(code: str, tally: Tally, first: FindingLog, second: FindingLog | None) -> int:
    """How many places of one code stand."""
    again = _marks(second, code)
    if second is None or code in _COMPARED:
        return 0
    kept = first.kept(code)
    found = sum(_mark(finding) in again for finding in kept)
    # Those that were counted and not kept can only be compared by their number.
    if found == len(kept) and second.tallies.get(code) == tally:
        return tally.places
    return found


def _marks(log: FindingLog | None, code: str) -> frozenset[object]:
    """What the findings of one code were found by, none where they cannot stand."""
    if log is None or code in _COMPARED:
        return frozenset()
    return frozenset(_mark(finding) for finding in log.kept(code))


def _mark(finding: Finding) -> object:
    """What two looks at the same damage agree on: the place and what it holds.

    Messages tell the size of the file, and trees come and go with snapshots.
    """
    return (
        finding.offset,
        finding.table,
        finding.l1_index,
        finding.l2_index,
        finding.cluster,
        finding.value,
        finding.expected,
    )
