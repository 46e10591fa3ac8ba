"""The report of a check for people: the verdict first, then only what is not zero."""

import textwrap
from collections.abc import Iterator
from typing import NamedTuple

from qcow2_dump.checks.catalogue import RULES, Rule, Severity
from qcow2_dump.checks.findings import Finding
from qcow2_dump.checks.result import CheckResult
from qcow2_dump.checks.verdict import Verdict
from qcow2_dump.events import ImageChecked
from qcow2_dump.image.image import Image
from qcow2_dump.report.advice import advise, mending
from qcow2_dump.report.escape import SHOWN_NAME, one_line, printable
from qcow2_dump.report.places import Place, Trees, claim, places
from qcow2_dump.report.statistics import statistics_lines
from qcow2_dump.report.style import Style
from qcow2_dump.report.summary import checked_line, image_line, unsettled, verdict_words
from qcow2_dump.report.units import counted, size

__all__ = ["TextOptions", "check_report", "left_lines"]

_SHOWN_PLACES = 5
_SHOWN_CLAIMANTS = 8
_WIDTH = 96

_SAID_BY_HEADLINE = frozenset({"header.dirty", "header.corrupt-flag"})
_OWNERS_MATTER = frozenset({"cluster.shared", "refcount.block-shared", "refcount.overflow"})


class TextOptions(NamedTuple):
    """How much to show: each finding, the tables of counts; and whether in colour."""

    errors: bool = False
    statistics: bool = False
    style: Style = Style()


def check_report(checked: ImageChecked, image: Image, options: TextOptions) -> Iterator[str]:
    """The lines of the report on one image, without line ends."""
    result, style = checked.result, options.style
    name = printable(checked.name)
    heading, words = verdict_words(result, image)
    shown = style.verdict(heading, result.verdict if result.complete else Verdict.OTHER)
    yield f"{style.strong(name)}: {shown} - {words}"
    codes = result.kinds(*Severity)
    codes = [code for code in codes if result.tallies[code].places]
    if not codes and not options.statistics:
        yield f"  {image_line(image)}"
        yield f"  {checked_line(checked, image)}"
        return
    if codes:
        yield ""
        yield from _groups(codes, result, image, options)
    yield ""
    if options.statistics:
        yield from statistics_lines(result, image)
        yield ""
    yield f"  {checked_line(checked, image)}"
    yield from _advice(result, image, style)


def left_lines(result: CheckResult, image: Image, style: Style) -> Iterator[str]:
    """What a repair leaves as it is, by code; the notes of its plan tell about leaks."""
    codes = [
        code
        for code in result.kinds(Severity.CORRUPTION, Severity.WARNING)
        if result.tallies[code].places
    ]
    if codes:
        yield ""
        yield style.strong("  left as it is:")
        yield from _groups(codes, result, image, TextOptions(style=style))


def _groups(
    codes: list[str], result: CheckResult, image: Image, options: TextOptions
) -> Iterator[str]:
    """The findings by code, the worst first."""
    width = max(len(code) for code in codes)
    by_code: dict[str, list[Finding]] = {code: [] for code in codes}
    for finding in result.findings:
        if finding.code in by_code:
            by_code[finding.code].append(finding)
    trees = Trees(image)
    for code in sorted(codes, key=lambda code: RULES[code].severity.rank):
        rule = RULES[code]
        shown = options.style.code(f"{code:<{width}}", rule.severity)
        yield f"  {shown}   {_headline(rule, result)}"
        if code == "refcount.leak" and result.tallies[code].settled:
            yield from _triage(result)
        listed = _list if options.errors else _digest
        yield from listed(by_code[code], rule, result, trees, options.style)
        how = mending(code)
        if how is not None and result.tallies[code].settled:
            yield options.style.dim(f"      -> {how}")


def _headline(rule: Rule, result: CheckResult) -> str:
    """The headline of a group; clusters also say how many bytes they are."""
    tally = result.tallies[rule.code]
    words = rule.tell(tally.places)
    if rule.in_clusters:
        number, noun, rest = words.split(" ", 2)
        words = f"{number} {noun} ({size(tally.places * result.cluster_size)}) {rest}"
    return words + unsettled(tally)


def _triage(result: CheckResult) -> Iterator[str]:
    """What may be done about the leaks, and why not more."""
    triage = result.triage
    if triage.waste:
        verb = "is" if triage.waste == 1 else "are"
        yield f"      {_clusters(triage.waste, result)} {verb} waste, which can be freed"
    if triage.orphans:
        yield (
            f"      {_clusters(triage.orphans, result)} may be guest data that got lost, and "
            "will not be freed:"
        )
        for reason in triage.reasons:
            yield f"        - {one_line(reason)}"


def _clusters(clusters: int, result: CheckResult) -> str:
    return f"{counted(clusters, 'cluster')} ({size(clusters * result.cluster_size)})"


def _digest(
    findings: list[Finding], rule: Rule, result: CheckResult, trees: Trees, style: Style
) -> Iterator[str]:
    """A handful of places, neighbours merged, and how many more there are."""
    if rule.code in _SAID_BY_HEADLINE:
        return
    told = 0
    # Elsewhere the owners are no more than what the place says already.
    owners = rule.code in _OWNERS_MATTER
    for shown, place in enumerate(places(findings, trees, result.cluster_size, merge=not owners)):
        if shown == _SHOWN_PLACES:
            break
        yield _place_line(place, style)
        if owners:
            yield from _claimants(place, trees, style)
        told += len(place.findings)
    left = result.tallies[rule.code].places - told
    if left > 0:
        yield style.dim(f"      and {left:,} more (--errors lists them)")


def _list(
    findings: list[Finding], rule: Rule, result: CheckResult, trees: Trees, style: Style
) -> Iterator[str]:
    """Each finding on its own, with its message."""
    for finding in findings:
        for place in places([finding], trees, result.cluster_size):
            yield _place_line(place, style)
            message = one_line(finding.message, 4 * SHOWN_NAME)
            # The line of a refcount says it all already.
            if message not in place.what and not rule.in_clusters:
                yield style.dim(f"        {message}")
            yield from _claimants(place, trees, style)
    left = result.tallies[rule.code].places - len(findings)
    if left > 0:
        yield style.dim(f"      and {left:,} more, not listed (--max-findings)")


def _place_line(place: Place, style: Style) -> str:
    parts = [place.what, place.guest, style.dim(place.trees)]
    return "      " + "   ".join(part for part in parts if part)


def _claimants(place: Place, trees: Trees, style: Style) -> Iterator[str]:
    """The owners of a cluster that has several."""
    for finding in place.findings:
        for claimant in finding.claimants[:_SHOWN_CLAIMANTS]:
            yield f"        - {claim(claimant, trees)}"
        total = max(finding.claimants_total, len(finding.claimants))
        if total > _SHOWN_CLAIMANTS:
            yield style.dim(f"        - and {total - _SHOWN_CLAIMANTS:,} more")


def _advice(result: CheckResult, image: Image, style: Style) -> Iterator[str]:
    """The advice, and as the last line the next command to type."""
    advice = advise(result, image)
    if advice.sentences:
        yield ""
        for sentence in advice.sentences:
            for line in textwrap.wrap(sentence, _WIDTH, break_on_hyphens=False):
                yield f"  {style.strong(line)}"
    for position, line in enumerate(advice.commands):
        if position == 0:
            yield ""
        lead = "next: " if position == 0 else "      "
        yield f"  {lead}{line}"
