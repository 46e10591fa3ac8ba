"""The catalogue's rows on the file as a whole, L1 tables, and clusters claimed more than once."""

from qcow2_dump.checks.rule import Impact, Rule, Severity
from qcow2_dump.checks.rules.l2 import ROWS as L2_ROWS
from qcow2_dump.checks.verdict import Verdict

__all__ = ["ROWS"]

_DROP = (
    "Left as it is: the entry is the only trace of where the data was. `repair --drop-unusable` "
    "makes the range unallocated, after listing what is lost. "
)
_KEEP = "Leaked clusters are kept, because they may be the data that got lost."

ROWS: tuple[Rule, ...] = (
    Rule(
        code="file.truncated",
        severity=Severity.CORRUPTION,
        verdict=Verdict.CORRUPT,
        headline="the file is cut short",
        meaning="The image refers to clusters that would lie behind the present end of the file.",
        cause="A copy or download that stopped early, a full disk, or a file system that lost the "
        "end of the file.",
        effect="What lay behind the end is gone from this file; those parts of the disk cannot be "
        "read, or read as zeros.",
        repair="No repair brings the rest back. Copy the image again from where it came from, or "
        "restore it from a backup, before changing anything.",
    ),
    Rule(
        code="table.beyond-end",
        severity=Severity.CORRUPTION,
        verdict=Verdict.CORRUPT,
        headline="# table{|s} {lies|lie} wholly or partly past the end of the file",
        meaning="A table (of the map from the guest's disk to the file, of snapshots, or of a "
        "bitmap) is said to lie where the file has already ended.",
        cause="The file was cut short, or the pointer to the table was overwritten.",
        effect="The missing entries read as zeros: with a table of the map, that part of the disk "
        "looks as if it had never been written. qemu-img often says nothing about it.",
        repair="Not repaired: the table is not in this file. Look for a complete copy of the file, "
        "or go back to a snapshot with `qcow2-dump snapshot apply`.",
        impact=Impact.UNREADABLE,
    ),
    Rule(
        code="l1.reserved",
        severity=Severity.CORRUPTION,
        verdict=Verdict.CORRUPT,
        headline="# L1 entr{y has|ies have} bits set that must be zero",
        meaning="An L1 entry leads to one L2 table; some of its bits have no meaning and must be "
        "zero.",
        cause="A flipped bit in memory or on disk, or a program that uses the bits for itself.",
        effect="QEMU ignores the bits when it reads; the data is there as long as the offset in "
        "the entry is right.",
        repair="`repair --errors` clears the bits.",
        option="--errors",
    ),
    Rule(
        code="l1.unaligned",
        severity=Severity.CORRUPTION,
        verdict=Verdict.CORRUPT,
        headline="# L1 entr{y does|ies do} not point to the start of a cluster",
        meaning="An L1 entry leads to one L2 table, which always fills a cluster of its own. This "
        "one points between two clusters, so it cannot be right.",
        cause="The entry was overwritten, or a bit of it flipped.",
        effect="The whole range of the disk behind the entry cannot be read, and QEMU marks the "
        "image corrupt when the guest touches it.",
        repair=_DROP + _KEEP,
        option="--drop-unusable",
        impact=Impact.UNREADABLE,
    ),
    Rule(
        code="l1.beyond-end",
        severity=Severity.CORRUPTION,
        verdict=Verdict.CORRUPT,
        headline="# L1 entr{y points|ies point} past the end of the file",
        meaning="An L1 entry leads to one L2 table; this one leads to a place where the file has "
        "already ended.",
        cause="The file was cut short, or the entry was overwritten.",
        effect="The whole range of the disk behind the entry reads as zeros or not at all.",
        repair=_DROP + _KEEP,
        option="--drop-unusable",
        impact=Impact.UNREADABLE,
    ),
    Rule(
        code="l1.no-offset",
        severity=Severity.CORRUPTION,
        verdict=Verdict.CORRUPT,
        headline="# L1 entr{y holds|ies hold} flags but no table offset",
        meaning="An L1 entry that leads nowhere must be zero; this one has flags set. The check "
        "of QEMU takes it for an L2 table at offset 0 and reads the header as one.",
        cause="The offset was wiped while the flags stayed, or a bit flipped in an unused entry.",
        effect="For the guest the range is unallocated: it reads as zeros or from the backing "
        "file.",
        repair="`repair --errors` clears the flags. " + _KEEP,
        option="--errors",
    ),
    Rule(
        code="l1.copied",
        severity=Severity.CORRUPTION,
        verdict=Verdict.COPIED,
        headline="# L1 entr{y has|ies have} a COPIED flag that disagrees with the refcount",
        meaning="COPIED says that nobody else uses the table, so that it may be changed in place. "
        "It must be set exactly when the table's refcount (the number of its users) is 1.",
        cause="The machine stopped between the change of a refcount and that of the flag, or the "
        "refcount itself is wrong.",
        effect="Reading is not affected. With the flag wrongly set, a write of the guest can "
        "change a snapshot as well; wrongly clear, it only costs a copy.",
        repair="`repair --errors` corrects the flag after the refcount is right.",
        option="--errors",
    ),
    *L2_ROWS,
    Rule(
        code="cluster.shared",
        severity=Severity.CORRUPTION,
        verdict=Verdict.CORRUPT,
        headline="# cluster{|s} {is|are} claimed by more than one owner",
        meaning="Two places that should know nothing of each other use the same cluster of the "
        "file: two ranges of the disk, or a range of the disk and a table.",
        cause="A cluster was given out a second time because its refcount was too low, or an "
        "entry was overwritten. Repairing with `qemu-img check -r all` leaves this behind.",
        effect="At most one owner still has its own data; the others read foreign data. Each "
        "write to one changes the other.",
        repair="Refcount and COPIED flag are made right, so that the next write separates the "
        "owners. `repair --reuse` gives each its own copy now (not for LUKS). Which of them holds "
        "the true data only its reader can tell.",
        option="--reuse",
        impact=Impact.DOUBT,
    ),
    Rule(
        code="leak.orphan-table",
        severity=Severity.CORRUPTION,
        verdict=Verdict.CORRUPT,
        headline="# cluster{|s} that nothing refers to {reads|read} like a lost table",
        meaning="The cluster counts as in use although nothing leads to it, and what it holds "
        "reads like an L1 or L2 table whose entries lead to other such clusters.",
        cause="The pointer to the table was overwritten or lost.",
        effect="The part of the disk that the table maps is missing, but its data is still in the "
        "file.",
        repair="Not repaired by itself, and no leaked cluster is freed while it is there: mend the "
        "damage that the report names, or put the table back by hand with `qcow2-dump edit`.",
    ),
)
