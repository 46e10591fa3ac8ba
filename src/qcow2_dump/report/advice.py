"""What to do about the findings of a check, in the order in which to do it.

Advice never tells anyone to free a cluster that may be guest data, and never to write to an
image before the cause of the damage has been looked at.
"""

from functools import lru_cache
from typing import NamedTuple

from qcow2_dump.checks.catalogue import RULES, Impact, Severity
from qcow2_dump.checks.findings import Finding
from qcow2_dump.checks.result import CheckResult, TreeStatistics
from qcow2_dump.checks.verdict import Verdict
from qcow2_dump.image.image import Image
from qcow2_dump.report import commands
from qcow2_dump.report.escape import quoted
from qcow2_dump.report.units import counted, size

__all__ = ["Advice", "advise", "mending", "repair_command"]

_MENDING = {
    "--errors": "can be mended: repair --errors",
    "--all": "can be mended: repair --all",
    "--reuse": "can be mended: repair --reuse gives each owner a copy of its own",
    "--drop-unusable": "cannot be mended; repair --drop-unusable gives these guest ranges up",
    "--drop-bitmaps": "cannot be mended; repair --drop-bitmaps gives the bitmaps up",
    "--drop-snapshot N": "cannot be mended; repair --drop-snapshot gives the snapshot up",
}

_DAMAGED = frozenset({Verdict.CORRUPT, Verdict.SNAPSHOT, Verdict.WRONG})
_UNSAFE_TO_WRITE = (
    "refcount.low",
    "refcount.overflow",
    "refcount.block-missing",
    "refcount.block-beyond-end",
    "refcount.block-shared",
    "cluster.shared",
)
_POINTERS_LOST = (
    "header.l1-table",
    "table.beyond-end",
    "l1.beyond-end",
    "l1.unaligned",
    "l2.beyond-end",
    "l2.unaligned",
    "snapshot.l1-table",
    "snapshot.record",
)
_REFCOUNTS_LOST = (
    "header.refcount-table",
    "header.refcount-order",
    "refcount.block-missing",
    "refcount.block-beyond-end",
    "refcount.unreadable",
)
_TO_MEND = (Severity.CORRUPTION, Severity.LEAK, Severity.WARNING)
_CHECK_AGAIN = (
    "Somebody is writing to the image: what is marked unsettled may be their work in progress. "
    "Check again when they have finished."
)
_ALL_COVERS = frozenset({"--errors", "--leaks", "--all"})


class Advice(NamedTuple):
    """``sentences`` for a person to read, then ``commands`` to type, both in order."""

    sentences: tuple[str, ...]
    commands: tuple[str, ...]


def advise(result: CheckResult, image: Image) -> Advice:
    """The advice on an image that was checked; none at all for a sound one."""
    if result.unsettled and not result.settled_kinds(*_TO_MEND):
        command = commands.command("check", commands.path(image.name), "--lock")
        return Advice((_CHECK_AGAIN,), (command,))
    sentences = [
        *_before_anything(result),
        *_truncated(result),
        *_newest_sound_snapshot(result, image),
        *([_CHECK_AGAIN] if result.unsettled else []),
    ]
    return Advice(tuple(sentences), tuple(_commands(result, image.name)))


def repair_command(finding: Finding, image: Image) -> str | None:
    """The command that mends one finding, None where nothing mends it by itself."""
    option = finding.repair_option
    if option is None:
        return None
    flag, _, operand = option.partition(" ")
    if not operand:
        return _repair_with(image.name, flag)
    position = _snapshot_position(finding, image)
    return None if position is None else _repair_with(image.name, flag, str(position))


@lru_cache(maxsize=8)
def _repair_with(name: str, *words: str) -> str:
    """A repair command; the same one mends thousands of findings."""
    return commands.command("repair", commands.path(name), *words)


def mending(code: str) -> str | None:
    """Whether a kind of finding can be mended, and with which option; None for mere remarks."""
    rule = RULES[code]
    if rule.option is None:
        damage = rule.severity in (Severity.CORRUPTION, Severity.LEAK)
        return f"cannot be mended by itself: see explain {code}" if damage else None
    # What may be done about leaks is told with their triage.
    return _MENDING.get(rule.option)


def _nothing_left_to_tell(result: CheckResult) -> bool:
    """Whether both what leads to guest data and what says that it is in use are damaged.

    Then clusters that hold guest data look free: to QEMU, and to a count of references.
    """
    return any(_found(result, code) for code in _POINTERS_LOST) and any(
        _found(result, code) for code in _REFCOUNTS_LOST
    )


def _before_anything(result: CheckResult) -> list[str]:
    """What must not be done to the image, most urgent first."""
    said: list[str] = []
    orphans = result.triage.orphans
    if _nothing_left_to_tell(result):
        said.append(
            "Let nothing write to the image, `qemu-img check -r` and a guest included: pointers to "
            "guest data and the refcounts that protect it are both lost, so clusters that hold "
            "guest data look free and would be overwritten."
        )
    if orphans and _found(result, "header.dirty"):
        said.append(
            "Do not open the image for writing: it is marked dirty, so QEMU would repair it by "
            f"itself and free {_clusters(orphans, result)} that may be guest data."
        )
    elif any(_found(result, code) for code in _UNSAFE_TO_WRITE):
        said.append(
            "Do not let a guest write to the image before it is repaired: a write could destroy "
            "data that is still intact."
        )
    if orphans:
        said.append(
            "Do not run `qemu-img check -r` on it: that frees "
            f"{_clusters(orphans, result)} that may be guest data."
        )
    if result.verdict in _DAMAGED:
        said.append("Keep a copy of the file as it is before anything is changed.")
    return said


def _truncated(result: CheckResult) -> list[str]:
    if not _found(result, "file.truncated"):
        return []
    return ["The rest of the file is not in this copy: look for a complete one first."]


def _newest_sound_snapshot(result: CheckResult, image: Image) -> list[str]:
    """The snapshot to go back to when the active tables are damaged."""
    active = [tree for tree in result.trees if tree.index is None]
    nothing_certain = result.unsettled and not result.settled_kinds(Severity.CORRUPTION)
    if not result.complete or nothing_certain or all(_readable(tree) for tree in active):
        return []
    entries = {entry.position: entry for entry in image.snapshot_table.entries}
    for tree in reversed(result.trees):
        if tree.index in entries and _readable(tree) and tree.l1.used:
            record = entries[tree.index].record
            name = f"{quoted(record.id, 20)[1:-1]} {quoted(record.name, 40)}"
            return [f"Snapshot {name} can still be read in full: it is a state to go back to."]
    return []


def _readable(tree: TreeStatistics) -> bool:
    broken = tree.l1.unaligned + tree.l1.invalid + tree.l2.unaligned + tree.l2.invalid
    return tree.examined and broken == 0


def _commands(result: CheckResult, name: str) -> list[str]:
    """The next commands to type: to understand the worst of it, then to look at a repair."""
    worst = _worst_code(result)
    if worst is None:
        return []
    lines = [commands.command("explain", worst)]
    options = _repair_options(result)
    # Repairing half a file would only make its loss look sound.
    unsafe = _found(result, "file.truncated") or _nothing_left_to_tell(result)
    if options and not unsafe:
        operands = (commands.path(name), *options, "--dry-run")
        lines.append(commands.command("repair", *operands))
    return lines


def _worst_code(result: CheckResult) -> str | None:
    """The code to understand first, of those that give the verdict."""
    codes = result.settled_kinds(*_TO_MEND)
    deciding = [code for code in codes if RULES[code].verdict is result.verdict]

    def last_to_explain(code: str) -> tuple[bool, int, bool, bool]:
        rule, tally = RULES[code], result.tallies[code]
        # What costs guest data comes before what follows from it.
        return (
            code != "file.truncated",
            rule.severity.rank,
            rule.impact is Impact.NONE or not tally.guest_bytes,
            rule.option is None,
        )

    return min(deciding or codes, key=last_to_explain, default=None)


def _repair_options(result: CheckResult) -> list[str]:
    """The options that mend something here and give nothing up."""
    options = set()
    for code in result.settled_kinds(*_TO_MEND):
        option = RULES[code].option
        if option in _ALL_COVERS or option == "--reuse":
            options.add(option)
    if not result.triage.waste:
        options.discard("--leaks")
    if len(options & _ALL_COVERS) > 1:
        options = (options - _ALL_COVERS) | {"--all"}
    return sorted(options)


def _snapshot_position(finding: Finding, image: Image) -> int | None:
    """The snapshot record in which the bad field lies."""
    if finding.offset is None:
        return None
    for entry in image.snapshot_table.entries:
        if entry.offset <= finding.offset < entry.offset + entry.record.length:
            return entry.position
    return None


def _found(result: CheckResult, code: str) -> bool:
    return code in result.tallies and result.tallies[code].settled


def _clusters(clusters: int, result: CheckResult) -> str:
    return f"{counted(clusters, 'cluster')} ({size(clusters * result.cluster_size)})"
