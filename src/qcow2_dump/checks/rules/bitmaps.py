"""The catalogue's rows on persistent dirty bitmaps."""

from qcow2_dump.checks.rule import Rule, Severity
from qcow2_dump.checks.verdict import Verdict

__all__ = ["ROWS"]

_STRAY = "The structure was overwritten, or a bit of it flipped."
_DROP = (
    "`repair --drop-bitmaps` removes the bitmaps from the image; the guest's data is not touched, "
    "and the next backup has to be a full one."
)

ROWS: tuple[Rule, ...] = (
    Rule(
        code="bitmap.extension",
        severity=Severity.CORRUPTION,
        verdict=Verdict.CORRUPT,
        headline="the description of the bitmaps in the header cannot be used",
        meaning="Bitmaps remember what has changed since a backup. The header says how many there "
        "are and where their directory lies; that breaks the rules.",
        cause=_STRAY,
        effect="QEMU refuses to open the image. Its data is untouched.",
        repair=_DROP,
        option="--drop-bitmaps",
    ),
    Rule(
        code="bitmap.directory",
        severity=Severity.CORRUPTION,
        verdict=Verdict.CORRUPT,
        headline="# entr{y|ies} of the bitmap directory cannot be used",
        meaning="Bitmaps remember what has changed since a backup; the directory lists them with "
        "their names and tables. An entry breaks the rules.",
        cause=_STRAY,
        effect="QEMU refuses to open the image. Its data is untouched.",
        repair=_DROP,
        option="--drop-bitmaps",
    ),
    Rule(
        code="bitmap.table",
        severity=Severity.CORRUPTION,
        verdict=Verdict.CORRUPT,
        headline="# bitmap table{|s} or table entr{y|ies} cannot be used",
        meaning="The table of a bitmap says where its parts lie in the file; it has the wrong "
        "length, or holds an entry that breaks the rules.",
        cause=_STRAY,
        effect="QEMU refuses to open the image, or its check gives up. The data is untouched.",
        repair=_DROP,
        option="--drop-bitmaps",
    ),
    Rule(
        code="bitmap.beyond-end",
        severity=Severity.CORRUPTION,
        verdict=Verdict.CORRUPT,
        headline="# entr{y|ies} of bitmap tables {points|point} past the end of the file",
        meaning="An entry of a bitmap's table says where a part of the bitmap lies; there is no "
        "such place in the file.",
        cause="The file was cut short, or the entry was overwritten.",
        effect="QEMU reads that part as 'nothing has changed', so that the next incremental backup "
        "leaves changes out. The guest's data is untouched.",
        repair="`repair --errors` lets the entry say 'everything has changed': the next backup "
        "copies more than it has to, and misses nothing.",
        option="--errors",
    ),
    Rule(
        code="bitmap.extra-data-flag",
        severity=Severity.WARNING,
        verdict=Verdict.OTHER,
        headline="# bitmap{|s} {carries|carry} a flag that QEMU does not know",
        meaning="The format allows a bitmap to say that its extra data may be ignored. QEMU never "
        "learned that flag.",
        cause="The bitmap was written by another program.",
        effect="QEMU refuses to open the image, although it breaks no rule. Its data is untouched.",
        repair="Left as it is, since the image is legal. `repair --drop-bitmaps` removes all "
        "bitmaps if QEMU has to open it.",
    ),
    Rule(
        code="bitmap.not-valid",
        severity=Severity.NOTE,
        verdict=Verdict.GOOD,
        headline="the bitmaps of this image are no longer valid",
        meaning="The header describes bitmaps, but the bit that vouches for them is not set: a "
        "program that knows no bitmaps has written to the image since.",
        cause="An old QEMU or another program wrote to the image.",
        effect="None for the disk. QEMU ignores the bitmaps and forgets them on the next write; "
        "their clusters count as leaks.",
        repair="Their clusters are waste; `repair --leaks` frees them.",
    ),
    Rule(
        code="bitmap.in-use",
        severity=Severity.NOTE,
        verdict=Verdict.GOOD,
        headline="# bitmap{|s} {was|were} not saved cleanly",
        meaning="A bitmap is marked as in use while QEMU keeps the up-to-date copy in memory; the "
        "one on disk is out of date.",
        cause="The machine stopped before the bitmap was saved, or the image is open right now.",
        effect="None for the disk. QEMU does not use the bitmap; the next backup has to be full.",
        repair="Left as it is. `qemu-img bitmap --remove` deletes it.",
    ),
)
