"""The catalogue's rows on the snapshot table and its records."""

from qcow2_dump.checks.rule import Rule, Severity
from qcow2_dump.checks.verdict import Verdict

__all__ = ["ROWS"]

_STRAY = "The snapshot table or the header was overwritten, or a bit of it flipped."
_DROP = (
    "Left as it is: the record is the only trace of the snapshot. `repair --drop-snapshot N` "
    "removes record N from the table. Leaked clusters are kept, because they may be the "
    "snapshot's data."
)

ROWS: tuple[Rule, ...] = (
    Rule(
        code="snapshot.table",
        severity=Severity.CORRUPTION,
        verdict=Verdict.SNAPSHOT,
        headline="the snapshot table cannot be used",
        meaning="The header says where the list of internal snapshots lies and how many there are. "
        "The place is not the start of a cluster, or the list would be longer than allowed.",
        cause=_STRAY,
        effect="QEMU refuses to open the image, although the present disk may be sound.",
        repair="Left as it is: if you know the right offset or count, write it with `qcow2-dump "
        "edit`. Free nothing until then: the leaks of this image are its snapshots.",
    ),
    Rule(
        code="snapshot.record",
        severity=Severity.CORRUPTION,
        verdict=Verdict.SNAPSHOT,
        headline="# snapshot record{|s} cannot be used",
        meaning="The record of a snapshot is cut off, has more extra data than allowed, or lacks "
        "an ID or a table.",
        cause=_STRAY,
        effect="QEMU may refuse to open the image; the snapshot, and those behind it in the list, "
        "cannot be reached.",
        repair=_DROP,
        option="--drop-snapshot N",
    ),
    Rule(
        code="snapshot.extra-data",
        severity=Severity.CORRUPTION,
        verdict=Verdict.SNAPSHOT,
        headline="# snapshot record{|s} {lacks|lack} the fields that version 3 demands",
        meaning="In a version 3 image the record of a snapshot must hold the size of its disk and "
        "of its saved machine state; this one is too short for them.",
        cause="The image was changed from version 2 by a tool that left the records, or the "
        "record was overwritten.",
        effect="None for the guest: the size of the present disk is used.",
        repair="`repair --errors` writes the table anew with the missing fields.",
        option="--errors",
    ),
    Rule(
        code="snapshot.l1-table",
        severity=Severity.CORRUPTION,
        verdict=Verdict.SNAPSHOT,
        headline="# snapshot{|s} {names|name} a root table that cannot be used",
        meaning="Each snapshot has an L1 table, the root of the map from its disk to the file. The "
        "record gives it an offset or a length that is not possible.",
        cause=_STRAY,
        effect="The snapshot cannot be read or applied. The present disk is not affected.",
        repair=_DROP,
        option="--drop-snapshot N",
    ),
    Rule(
        code="snapshot.data-file",
        severity=Severity.CORRUPTION,
        verdict=Verdict.CORRUPT,
        headline="the image has internal snapshots and an external data file",
        meaning="The data of a snapshot must stay as it was, and an external data file is always "
        "written in place; the two exclude each other.",
        cause="The header was overwritten, or a tool set the feature bit of a data file.",
        effect="The snapshots do not hold what they should.",
        repair="Left as it is: find out first whether the image should have a data file.",
    ),
    Rule(
        code="snapshot.disk-size",
        severity=Severity.WARNING,
        verdict=Verdict.OTHER,
        headline="# snapshot{|s} {has|have} a disk size that does not fit {its|their} table",
        meaning="The record of a snapshot says how large the disk was; the L1 table of the "
        "snapshot is too short for that, or the size makes no sense.",
        cause="The record was overwritten, or written by a tool that filled in something else.",
        effect="Applying the snapshot may fail, or give the guest a disk of the wrong size.",
        repair="Left as it is. Read the snapshot with care; its data is not affected.",
    ),
    Rule(
        code="snapshot.duplicate-id",
        severity=Severity.WARNING,
        verdict=Verdict.OTHER,
        headline="# snapshot{|s} {shares its|share their} ID with another one",
        meaning="Two snapshots have the same ID, so that asking for one by ID can give the other.",
        cause="A tool wrote the table without looking, or the table was overwritten.",
        effect="QEMU only ever reaches the first of them by ID.",
        repair="Left as it is. Name a snapshot by its position, `snapshot[N]`.",
    ),
    Rule(
        code="snapshot.duplicate-name",
        severity=Severity.WARNING,
        verdict=Verdict.OTHER,
        headline="# snapshot{|s} {shares its|share their} name with another one",
        meaning="Two snapshots have the same name. QEMU allows it.",
        cause="The same name was given twice.",
        effect="By name, QEMU reaches only the first of them.",
        repair="Left as it is. Name a snapshot by its ID, or by its position, `snapshot[N]`.",
    ),
    Rule(
        code="snapshot.lost-table",
        severity=Severity.CORRUPTION,
        verdict=Verdict.SNAPSHOT,
        headline="the image is said to have no snapshots, but a snapshot table is still there",
        meaning="The number of snapshots in the header is 0, while the offset still leads to a "
        "record that can be read.",
        cause="The number in the header was wiped or overwritten.",
        effect="The snapshots are gone from every list. Their data shows up as leaks.",
        repair="Left as it is: write the number back with `qcow2-dump edit` at offset 60. Free "
        "nothing until then: the leaks of this image are its snapshots.",
    ),
)
