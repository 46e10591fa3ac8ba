"""The last section of the classic report: what else was found, the verdict, and what to do."""

import textwrap
from collections.abc import Iterator

from qcow2_dump.checks.catalogue import RULES, Severity
from qcow2_dump.checks.findings import Finding
from qcow2_dump.checks.result import CheckResult, TreeStatistics
from qcow2_dump.checks.trees import tree_label
from qcow2_dump.checks.verdict import Verdict
from qcow2_dump.events import ActiveSummed, ImageChecked
from qcow2_dump.image.image import Image
from qcow2_dump.report.advice import advise
from qcow2_dump.report.escape import one_line, printable
from qcow2_dump.report.places import Trees
from qcow2_dump.report.style import Style
from qcow2_dump.report.summary import unsettled, verdict_words
from qcow2_dump.report.units import size

__all__ = ["finding_lines", "summary_lines"]

_WIDTH = 96

# Told entry by entry in the sections of the tables.
_TOLD_ELSEWHERE = ("l1.", "l2.", "refcount.", "cluster.shared")
_NOT_TOLD = frozenset({"l2.misread", "l2.stream", "l2.wiped", "l2.empty", "refcount.beyond-end"})


def finding_lines(result: CheckResult) -> Iterator[str]:
    """Each finding that has no place in the lists of entries, with its file offset."""
    for finding in result.findings:
        if finding.code.startswith(_TOLD_ELSEWHERE) and finding.code not in _NOT_TOLD:
            continue
        mark = "" if finding.settled else " (unsettled)"
        yield f"{finding.code}: {one_line(finding.message)}{_at(finding)}{mark}"


def summary_lines(
    checked: ImageChecked,
    image: Image,
    active: ActiveSummed | None,
    style: Style,
    *,
    refcounts: bool,
) -> Iterator[str]:
    """The summary and the verdict; the last line is the next command, if there is one.

    ``refcounts`` says whether they were judged; ``active`` is None when the run was interrupted.
    """
    result = checked.result
    if active is not None:
        yield f"preallocation:  {active.preallocation or 'unknown'}"
        held = active.held_alone
        yield f"Active layer:   {held} bytes held by it alone ({size(held)})"
    yield from _kinds(result)
    if refcounts and result.complete:
        totals = result.statistics
        yield (
            f"Totals:         corruptions: {totals.corruptions}, leaks: {totals.leaks}, "
            f"check errors: {totals.check_errors}"
        )
    yield from _snapshots(result, image)
    if not refcounts:
        yield "Refcounts were not asked for, and neither they nor COPIED flags were judged."
    heading, words = verdict_words(result, image)
    shown = style.verdict(heading, result.verdict if result.complete else Verdict.OTHER)
    yield ""
    yield f"{style.strong(printable(checked.name))}: {shown} - {words}"
    yield from _advice(result, image, style)


def _kinds(result: CheckResult) -> Iterator[str]:
    """What was found, a line for each kind."""
    codes = [code for code in result.kinds(*Severity) if result.tallies[code].places]
    for code in sorted(codes, key=lambda code: RULES[code].severity.rank):
        tally = result.tallies[code]
        yield f"Found:          {RULES[code].tell(tally.places)} [{code}]{unsettled(tally)}"


def _snapshots(result: CheckResult, image: Image) -> Iterator[str]:
    """The state to go back to, or the first snapshot that is lost."""
    nothing_certain = result.unsettled and not result.settled_kinds(Severity.CORRUPTION)
    if not result.complete or nothing_certain:
        return
    damaged = _damaged_trees(result, image)
    names = Trees(image)
    records = {entry.position: entry.record for entry in image.snapshot_table.entries}
    snapshots = [tree.index for tree in result.trees if tree.index in records]
    lost = [index for index in snapshots if index in damaged]
    if None in damaged:
        sound = [index for index in snapshots if index not in damaged]
        if sound and sound[-1] is not None:
            name = _named(sound[-1], names.of_record(records[sound[-1]].id))
            yield f"Go back to:     {name}, the newest snapshot whose tables are sound"
    elif lost and lost[0] is not None:
        name = _named(lost[0], names.of_record(records[lost[0]].id))
        yield f"First damaged:  {name}; the active tables are sound"


def _named(index: int, name: str) -> str:
    return f"snapshot[{index}] ({name})"


def _damaged_trees(result: CheckResult, image: Image) -> set[int | None]:
    """The trees (positions in the snapshot table, None for the active one) that lost something."""
    damaged = {tree.index for tree in result.trees if not _readable(tree)}
    labels = {
        label
        for finding in result.findings
        if finding.severity is Severity.CORRUPTION and not finding.code.endswith(".copied")
        if finding.code.startswith(("l1.", "l2.", "snapshot.", "table."))
        for label in finding.trees
    }
    if "active" in labels:
        damaged.add(None)
    for entry in image.snapshot_table.entries:
        if tree_label(entry.record.id) in labels:
            damaged.add(entry.position)
    return damaged


def _readable(tree: TreeStatistics) -> bool:
    broken = tree.l1.unaligned + tree.l1.invalid + tree.l2.unaligned + tree.l2.invalid
    return tree.examined and broken == 0


def _advice(result: CheckResult, image: Image, style: Style) -> Iterator[str]:
    advice = advise(result, image)
    for sentence in advice.sentences:
        for line in textwrap.wrap(sentence, _WIDTH, break_on_hyphens=False):
            yield style.strong(line)
    for line in advice.commands:
        yield f"next: {line}"


def _at(finding: Finding) -> str:
    return "" if finding.offset is None else f" (file offset {finding.offset:#x})"
