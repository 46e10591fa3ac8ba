"""The catalogue's rows on refcounts and the tables that hold them."""

from qcow2_dump.checks.rule import Rule, Severity
from qcow2_dump.checks.verdict import Verdict

__all__ = ["ROWS"]

_REFCOUNT = (
    "For each cluster of the file the image keeps a refcount: the number of places that use it. "
)
_NO_READING = (
    "Reading is not affected. When the guest writes, a cluster in use can be taken for a free one "
    "and overwritten."
)
_REBUILD = (
    "`repair --errors` counts every reference and writes new refcount blocks to the end of the "
    "file; the old ones are released only after the switch."
)
_STRAY = "A flipped bit in memory or on disk, or a table that was overwritten."

ROWS: tuple[Rule, ...] = (
    Rule(
        code="refcount.low",
        severity=Severity.CORRUPTION,
        verdict=Verdict.WRONG,
        headline="# cluster{|s} {has|have} a refcount lower than {its|their} references",
        meaning=_REFCOUNT + "Here it is lower than the number of places that were found.",
        cause="The machine stopped before the refcount reached the disk, or the block that holds "
        "it was overwritten.",
        effect=_NO_READING,
        repair="`repair --errors` raises the refcount. Do not let anything write to the image "
        "before.",
        option="--errors",
    ),
    Rule(
        code="refcount.overflow",
        severity=Severity.CORRUPTION,
        verdict=Verdict.WRONG,
        headline="# cluster{|s} {has|have} more references than a refcount can hold",
        meaning=_REFCOUNT + "The number is only a few bits wide, and more places use the cluster.",
        cause="Narrow refcounts together with many snapshots, or entries overwritten with the same "
        "value.",
        effect=_NO_READING,
        repair="Not repaired: `qemu-img amend -o refcount_bits=16`, or a copy of the image with "
        "`qemu-img convert`, makes room.",
    ),
    Rule(
        code="refcount.leak",
        severity=Severity.LEAK,
        verdict=Verdict.LEAK,
        headline="# cluster{|s} {has|have} a refcount higher than {its|their} references",
        meaning=_REFCOUNT + "Here it is higher than the number of places that were found, mostly "
        "because nothing leads to the cluster at all.",
        cause="The machine stopped between taking a cluster and using it. Or the entry that led to "
        "the cluster was damaged: then it holds guest data.",
        effect="None for the guest; the space cannot be used again.",
        repair="`repair --leaks` lowers the refcount of what is certainly waste. Clusters that may "
        "be guest data are kept: mend the other damage first, and check again.",
        option="--leaks",
    ),
    Rule(
        code="refcount.block-missing",
        severity=Severity.CORRUPTION,
        verdict=Verdict.WRONG,
        headline="# refcount block{|s} {is|are} missing for clusters in use",
        meaning=_REFCOUNT + "They stand in blocks, and for a part of the file that is in use there "
        "is no block, so that everything there counts as free.",
        cause="The entry of the refcount table was wiped, or the machine stopped before it was "
        "written.",
        effect=_NO_READING,
        repair=_REBUILD,
        option="--errors",
    ),
    Rule(
        code="refcount.table-reserved",
        severity=Severity.CORRUPTION,
        verdict=Verdict.CORRUPT,
        headline="# refcount table entr{y has|ies have} bits set that must be zero",
        meaning="The refcount table leads to the blocks of refcounts; some bits of its entries "
        "have no meaning and must be zero.",
        cause=_STRAY,
        effect="Reading is not affected. QEMU sets the corrupt mark when it has to write there, "
        "and `qemu-img check -r` cannot repair it.",
        repair=_REBUILD,
        option="--errors",
    ),
    Rule(
        code="refcount.table-unaligned",
        severity=Severity.CORRUPTION,
        verdict=Verdict.CORRUPT,
        headline="# refcount table entr{y does|ies do} not point to the start of a cluster",
        meaning="The refcount table leads to the blocks of refcounts, each of which fills a "
        "cluster of its own. This entry points between two clusters, so it cannot be right.",
        cause=_STRAY,
        effect="Reading is not affected. QEMU sets the corrupt mark when it has to write there, "
        "and `qemu-img check -r` cannot repair it.",
        repair=_REBUILD,
        option="--errors",
    ),
    Rule(
        code="refcount.block-beyond-end",
        severity=Severity.CORRUPTION,
        verdict=Verdict.CORRUPT,
        headline="# refcount block{|s} {is|are} said to lie past the end of the file",
        meaning="The refcount table leads to a place where the file has already ended.",
        cause="The file was cut short, or the table was overwritten.",
        effect=_NO_READING,
        repair=_REBUILD + " The file is never grown to reach the pointer.",
        option="--errors",
    ),
    Rule(
        code="refcount.block-shared",
        severity=Severity.CORRUPTION,
        verdict=Verdict.CORRUPT,
        headline="# refcount block{|s} {uses|use} a cluster that something else uses too",
        meaning="A block of refcounts must have its cluster to itself; here a table or a range of "
        "the guest's disk lies in the same place.",
        cause=_STRAY,
        effect="Each change of a refcount there destroys data, and the other way round.",
        repair=_REBUILD,
        option="--errors",
    ),
    Rule(
        code="refcount.unreadable",
        severity=Severity.CORRUPTION,
        verdict=Verdict.CORRUPT,
        headline="# cluster{|s} {has|have} a refcount that cannot be read",
        meaning=_REFCOUNT + "The block that would hold it lies in an impossible place, or reading "
        "it failed.",
        cause="The entry of the refcount table was overwritten, or the disk under the file is "
        "failing.",
        effect="Reading is not affected. Writing fails or sets the corrupt mark.",
        repair=_REBUILD,
        option="--errors",
    ),
    Rule(
        code="refcount.beyond-end",
        severity=Severity.WARNING,
        verdict=Verdict.OTHER,
        headline="there are refcounts for clusters past the end of the file",
        meaning=_REFCOUNT + "Here there are refcounts for clusters that the file does not have.",
        cause="The machine stopped between counting a cluster and writing it, or the file was cut "
        "short behind the last cluster in use.",
        effect="None: QEMU skips the clusters when it looks for room.",
        repair="Left as they are. Where a repair makes the file longer, those of the clusters that "
        "it gains are put right.",
    ),
)
