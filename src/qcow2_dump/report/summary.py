"""The sentences that sum an image up: the verdict in words, what it is, what was looked at."""

from qcow2_dump.checks.catalogue import RULES, Impact, Severity
from qcow2_dump.checks.findings import Tally
from qcow2_dump.checks.result import CheckResult
from qcow2_dump.checks.verdict import Verdict
from qcow2_dump.events import ImageChecked
from qcow2_dump.image.image import Image
from qcow2_dump.report.escape import quoted
from qcow2_dump.report.units import counted, duration, size

__all__ = ["checked_line", "image_line", "unsettled", "verdict_words"]

_WORDS = {
    Verdict.GOOD: "nothing is wrong",
    Verdict.COPIED: "some COPIED flags disagree with the refcounts; all data can be read",
    Verdict.FLAGGED: "marked corrupt, though its metadata is sound",
    Verdict.WRONG: "refcounts are too low; all data can be read, but writing is dangerous",
    Verdict.FLAG: "marked corrupt, and not examined in full",
}


def verdict_words(result: CheckResult, image: Image) -> tuple[str, str]:
    """The verdict as the heading of a report, and the sentence that goes with it."""
    if not result.complete:
        return "INCOMPLETE", "interrupted; refcounts were not judged, and this is what was seen"
    verdict = result.verdict
    words = _WORDS.get(verdict)
    if verdict is Verdict.LEAK:
        words = _leak_words(result)
    elif verdict is Verdict.OTHER:
        words = _other_words(result)
    elif words is None or _impacts(result, image):
        words = ", ".join([_kinds(result), *_impacts(result, image)])
    return verdict.label.upper(), words


def unsettled(tally: Tally) -> str:
    """What follows the headline of a kind of finding of which some are not settled."""
    if not tally.unsettled:
        return ""
    return f" ({tally.unsettled:,} unsettled)" if tally.settled else " (unsettled)"


def image_line(image: Image) -> str:
    """What the image is, in one line."""
    header = image.header
    parts = [
        f"qcow2 version {header.version}",
        f"{size(header.size)} disk in a file of {size(image.source.size)}",
        f"{size(header.cluster_size)} clusters",
    ]
    if image.backing_file is not None:
        parts.append(f"backing file {quoted(image.backing_file)}")
    return ", ".join(parts)


def checked_line(checked: ImageChecked, image: Image) -> str:
    """How much was looked at, and how long it took."""
    result = checked.result
    totals = result.statistics
    if not result.complete:
        seen = counted(totals.allocated_clusters, "allocated cluster")
        return (
            f"stopped after {duration(checked.seconds)}, when {seen} of a disk of "
            f"{totals.total_clusters:,} had been seen"
        )
    inside = [f"{totals.allocated_clusters:,} allocated"]
    if totals.compressed_clusters:
        inside.append(f"{totals.compressed_clusters:,} compressed")
    parts = [f"{counted(totals.total_clusters, 'guest cluster')} ({', '.join(inside)})"]
    tables = sum(tree.l1.used for tree in result.trees if tree.index is None)
    parts.append(counted(tables, "L2 table"))
    if image.header.nb_snapshots:
        parts.append(counted(len(image.snapshot_table.entries), "snapshot"))
    if result.bitmaps:
        parts.append(counted(result.bitmaps, "bitmap"))
    return f"checked {', '.join(parts)} in {duration(checked.seconds)}"


def _kinds(result: CheckResult) -> str:
    codes = [code for code in result.settled_kinds(Severity.CORRUPTION) if code != "l2.misread"]
    return counted(len(codes), "kind of damage", "kinds of damage")


def _impacts(result: CheckResult, image: Image) -> list[str]:
    """What the damage means for the guest's disk, as far as the check can tell."""
    unreadable = min(result.guest_bytes(Impact.UNREADABLE), image.header.size)
    doubt = min(result.guest_bytes(Impact.DOUBT), image.header.size)
    if not doubt and not result.unsettled:
        # The same data seen from the other side: the clusters that lost their owner.
        doubt = result.triage.orphans * result.cluster_size
    impacts = []
    if unreadable:
        whose = "the guest's disk" if _hits_active(result) else "snapshots"
        impacts.append(f"{size(unreadable)} of {whose} unreadable")
    if doubt:
        impacts.append(f"{size(doubt)} in doubt")
    return impacts


def _hits_active(result: CheckResult) -> bool:
    """Whether the present disk may be unreadable in part, and not only snapshots."""
    hits = [f for f in result.findings if f.rule.impact is Impact.UNREADABLE and f.guest_length]
    only_snapshots = all(f.trees and "active" not in f.trees for f in hits)
    # What is not listed cannot be known.
    all_known = not result.omitted and all(f.trees_total <= len(f.trees) for f in hits)
    return not (hits and only_snapshots and all_known)


def _leak_words(result: CheckResult) -> str:
    waste, orphans = result.triage.waste, result.triage.orphans
    if orphans:
        return f"{size(orphans * result.cluster_size)} that nothing refers to may be guest data"
    if waste:
        return f"no damage; {size(waste * result.cluster_size)} taken up without use"
    return "no damage; some space is taken up without use"


def _other_words(result: CheckResult) -> str:
    codes = result.settled_kinds(Severity.WARNING)
    if codes:
        first = RULES[codes[0]].tell(result.tallies[codes[0]].places)
        more = f", and {len(codes) - 1} more to look at" if len(codes) > 1 else ""
        return first + more
    if result.refusal is not None:
        return f"sound, but QEMU would refuse it: {result.refusal}"
    return "nothing is certain: somebody is writing to the image"
