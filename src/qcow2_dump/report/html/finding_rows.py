"""The findings of a check as the rows of a table, and the kinds of them."""

from collections.abc import Iterator
from dataclasses import dataclass

from qcow2_dump.checks.catalogue import RULES, Impact, Severity
from qcow2_dump.checks.findings import Finding
from qcow2_dump.checks.result import CheckResult
from qcow2_dump.checks.trees import ACTIVE
from qcow2_dump.image.image import Image
from qcow2_dump.report.advice import mending, repair_command
from qcow2_dump.report.document import SEVERITY
from qcow2_dump.report.escape import one_line
from qcow2_dump.report.places import Trees, claim, places
from qcow2_dump.report.summary import unsettled
from qcow2_dump.report.units import size

__all__ = ["FindingRow", "KindRow", "finding_rows", "kind_rows"]

_MESSAGE = 320
_CLAIMANTS = 8


@dataclass(frozen=True, slots=True)
class KindRow:
    """All findings of one code: how bad, how many, what that means, and what may be done."""

    code: str
    severity: str
    headline: str
    effect: str
    mending: str


@dataclass(frozen=True, slots=True)
class FindingRow:
    """One finding. ``number`` counts from 1.

    Host and guest ranges are in bytes, their ends not included; None where there is none. The
    guest range is one of the present disk, which is the one that is drawn.
    ``damage`` says that it is a corruption, and no mere leak or remark.
    """

    number: int
    code: str
    severity: str
    rank: int
    damage: bool
    where: str
    message: str
    owners: tuple[str, ...]
    trees: str
    guest_words: str
    command: str
    host: tuple[int, int] | None
    guest: tuple[int, int] | None


def kind_rows(result: CheckResult) -> list[KindRow]:
    """The kinds that were found, the worst first."""
    codes = [code for code in result.kinds(*Severity) if result.tallies[code].places]
    rows = []
    for code in sorted(codes, key=lambda code: RULES[code].severity.rank):
        rule, tally = RULES[code], result.tallies[code]
        words = rule.tell(tally.places) + unsettled(tally)
        if rule.in_clusters:
            words += f", {size(tally.places * result.cluster_size)}"
        if rule.impact is not Impact.NONE and tally.guest_bytes:
            words += f"; {size(tally.guest_bytes)} of a disk {rule.impact}"
        how = (mending(code) if tally.settled else None) or ""
        rows.append(KindRow(code, SEVERITY[rule.severity], words, rule.effect, how))
    return rows


def finding_rows(result: CheckResult, image: Image, trees: Trees) -> Iterator[FindingRow]:
    """The findings that were kept, in the order of the report for people.

    ``result`` is as `withheld.shown_result` leaves it.
    """
    for number, finding in enumerate(result.findings, start=1):
        (place,) = places([finding], trees, result.cluster_size)
        total = max(finding.claimants_total, len(finding.claimants))
        owners = [claim(claimant, trees) for claimant in finding.claimants[:_CLAIMANTS]]
        if total > len(owners) > 0:
            owners.append(f"and {total - len(owners):,} more")
        yield FindingRow(
            number=number,
            code=finding.code,
            severity=SEVERITY[finding.severity],
            rank=finding.severity.rank,
            damage=finding.severity is Severity.CORRUPTION,
            where=place.what,
            message=_message(finding, place.what),
            owners=tuple(owners),
            trees=place.trees,
            guest_words=place.guest.removeprefix("guest "),
            command=repair_command(finding, image) or "",
            host=_host(finding, result.cluster_size, image.source.size),
            guest=_guest(finding),
        )


def _message(finding: Finding, where: str) -> str:
    """What is wrong, unless the place says it already, as that of a refcount does."""
    message = one_line(finding.message, _MESSAGE)
    told = message in where or message.endswith(where.partition(" (file offset ")[0])
    # Such a place says both numbers, unless one is withheld.
    numbers = finding.rule.in_clusters and (finding.value is not None or finding.expected is None)
    return "" if told or numbers else message


def _host(finding: Finding, cluster_size: int, end: int) -> tuple[int, int] | None:
    """The cluster that it is about, or else the one that holds the bad field."""
    cluster = finding.cluster
    if cluster is None and finding.offset is not None:
        cluster = finding.offset // cluster_size
    if cluster is None or cluster * cluster_size >= end:
        return None
    return cluster * cluster_size, (cluster + 1) * cluster_size


def _guest(finding: Finding) -> tuple[int, int] | None:
    """The range on the disk of the active layer; None for what only snapshots have."""
    if finding.guest_offset is None:
        return None
    all_known = finding.trees and finding.trees_total <= len(finding.trees)
    if all_known and ACTIVE not in finding.trees:
        return None
    return finding.guest_offset, finding.guest_offset + (finding.guest_length or 0)
