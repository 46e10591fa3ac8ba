"""A plan for people: what would be done and why, what the guest gains or loses, what comes next.

Calm and in this order: how the image is, what is given up, the changes by reason, what is kept,
how the image will be, and as the last line the next command to type.
"""

import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from qcow2_dump.checks.result import CheckResult
from qcow2_dump.image.image import Image
from qcow2_dump.planners.proposal import GuestLoss, Proposal
from qcow2_dump.report.advice import advise
from qcow2_dump.report.changes import Change, changes, counted_reasons
from qcow2_dump.report.escape import one_line, printable
from qcow2_dump.report.reason_words import for_the_guest, what_is_done
from qcow2_dump.report.style import Style
from qcow2_dump.report.summary import verdict_words
from qcow2_dump.report.text import left_lines
from qcow2_dump.report.units import counted, size

__all__ = [
    "PlanOptions",
    "extent",
    "further_commands",
    "next_lines",
    "note_lines",
    "nothing_to_do",
    "plan_report",
    "verdict_line",
]

_WIDTH = 96
_SHOWN_LOSSES = 20
_SHOWN_TREES = 4


@dataclass(frozen=True, slots=True)
class PlanOptions:
    """How much to show: ``max_changes`` in all, ``per_reason`` of each reason (None for all)."""

    max_changes: int
    per_reason: int | None = None
    style: Style = field(default_factory=Style)


def verdict_line(name: str, result: CheckResult, image: Image, style: Style) -> str:
    """The image's name and what is to be thought of it."""
    label, words = verdict_words(result, image)
    return f"{style.strong(printable(name))}: {style.verdict(label, result.verdict)} - {words}"


def plan_report(
    name: str, proposal: Proposal, image: Image | None, options: PlanOptions
) -> Iterator[str]:
    """The lines of a plan that nobody has carried out, without line ends and the next command."""
    style, plan = options.style, proposal.plan
    if proposal.before is not None and image is not None:
        yield verdict_line(name, proposal.before, image, style)
        yield ""
        yield f"  would be done: {extent(proposal)}"
    else:
        yield f"{style.strong(printable(name))}: would be done: {extent(proposal)}"
    # What is lost for good comes before everything else.
    yield from _losses(proposal, style)
    yield from _groups(proposal, image, options)
    yield from note_lines(proposal.notes)
    if proposal.after is not None and image is not None:
        label, words = verdict_words(proposal.after, image)
        yield ""
        yield f"  afterwards: {style.verdict(label, proposal.after.verdict)} - {words}"
    if plan.new_size != plan.size:
        verb = "grows" if plan.new_size > plan.size else "shrinks"
        yield f"  the file {verb} from {plan.size:,} to {plan.new_size:,} bytes"


def nothing_to_do(
    name: str, proposal: Proposal, image: Image | None, style: Style, *, left: bool = False
) -> Iterator[str]:
    """The lines of a plan without any change; of a damaged image, also what comes next.

    ``left`` adds what is wrong with the image.
    """
    if proposal.before is None or image is None:
        yield f"{style.strong(printable(name))}: nothing to do"
        yield from note_lines(proposal.notes)
        return
    yield verdict_line(name, proposal.before, image, style)
    yield "  nothing to do"
    if left:
        yield from left_lines(proposal.before, image, style)
    yield from note_lines(proposal.notes)
    yield from next_lines(further_commands(proposal.before, image))


def further_commands(result: CheckResult, image: Image) -> list[str]:
    """What else may be done about an image after what could be done was done."""
    lines = advise(result, image).commands
    # Such a repair was just made, or found to have nothing to do.
    return [line for line in lines if not line.startswith("qcow2-dump repair ")]


def next_lines(commands: Sequence[str]) -> Iterator[str]:
    """The last lines of a report: what to type."""
    for position, line in enumerate(commands):
        if position == 0:
            yield ""
        yield f"  {'next: ' if position == 0 else '      '}{line}"


def extent(proposal: Proposal) -> str:
    """How much a plan changes, in words."""
    total = counted_reasons(proposal.plan).total()
    return f"{counted(total, 'change')}, {size(proposal.plan.bytes_written)} written"


def note_lines(notes: list[str]) -> Iterator[str]:
    """What a person has to know besides."""
    for position, note in enumerate(notes):
        if position == 0:
            yield ""
        yield from textwrap.wrap(
            one_line(note),
            _WIDTH,
            initial_indent="  ",
            subsequent_indent="  ",
            break_on_hyphens=False,
        )


def _groups(proposal: Proposal, image: Image | None, options: PlanOptions) -> Iterator[str]:
    """The changes by reason, in the order in which they are begun."""
    counts = counted_reasons(proposal.plan)
    listed: dict[str, list[Change]] = {reason: [] for reason in counts}
    shown = changes(proposal.plan, image, limit=options.max_changes, per_reason=options.per_reason)
    for change in shown:
        listed[change.reason].append(change)
    style = options.style
    for reason, count in counts.items():
        yield ""
        yield f"  {style.strong(printable(reason, 40))}   {counted(count, 'change')}"
        for words in (what_is_done(reason), for_the_guest(reason)):
            if words is not None:
                yield from _wrapped(words, "      ", style)
        for change in listed[reason]:
            yield f"        {change.place}: {change.step}"
        left = count - len(listed[reason])
        if left > 0:
            yield style.dim(f"        and {left:,} more")


def _wrapped(words: str, indent: str, style: Style) -> Iterator[str]:
    for line in textwrap.wrap(words, _WIDTH - len(indent), break_on_hyphens=False):
        yield indent + style.dim(line)


def _losses(proposal: Proposal, style: Style) -> Iterator[str]:
    """The guest ranges that are given up."""
    if not proposal.losses:
        return
    total = max(proposal.losses_total, len(proposal.losses))
    yield ""
    yield style.strong(f"  given up: {counted(total, 'range')} of the guest's disk")
    for loss in proposal.losses[:_SHOWN_LOSSES]:
        yield f"      {_loss(loss)}"
    if total > _SHOWN_LOSSES:
        yield style.dim(f"      and {total - _SHOWN_LOSSES:,} more")


def _loss(loss: GuestLoss) -> str:
    trees = ", ".join(printable(tree, 20) for tree in loss.trees[:_SHOWN_TREES])
    more = ", ..." if len(loss.trees) > _SHOWN_TREES else ""
    where = f"guest {loss.offset:#x}-{loss.offset + loss.length - 1:#x}"
    return f"{where}   {trees}{more}   {one_line(loss.why)}"
