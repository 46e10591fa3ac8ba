"""The catalogue's rows on L2 tables and their entries."""

from qcow2_dump.checks.rule import Impact, Rule, Severity
from qcow2_dump.checks.verdict import Verdict

__all__ = ["ROWS"]

_DROP = (
    "Left as it is: the entry is the only trace of where the data was. `repair --drop-unusable` "
    "makes the range unallocated, after listing what is lost. "
)
_KEEP = "Leaked clusters are kept, because they may be the data that got lost."
_STRAY = "A flipped bit in memory or on disk, or an entry that was overwritten."

ROWS: tuple[Rule, ...] = (
    Rule(
        code="l2.misread",
        severity=Severity.CORRUPTION,
        verdict=Verdict.CORRUPT,
        headline="# bad entr{y|ies} counted in bytes that are no L2 table",
        meaning="An unusable L1 entry leads to bytes that are no table. QEMU reads them as one and "
        "counts what it finds, so the totals here do the same.",
        cause="It follows from the unusable L1 entry that the report names; there is no damage of "
        "its own.",
        effect="None of its own.",
        repair="It goes away with the L1 entry.",
    ),
    Rule(
        code="l2.reserved",
        severity=Severity.CORRUPTION,
        verdict=Verdict.CORRUPT,
        headline="# L2 entr{y has|ies have} bits set that must be zero",
        meaning="An L2 entry says where one cluster of the guest's disk lies in the file; some of "
        "its bits have no meaning and must be zero.",
        cause=_STRAY,
        effect="QEMU ignores the bits when it reads; the data is there as long as the offset in "
        "the entry is right.",
        repair="`repair --errors` clears the bits.",
        option="--errors",
    ),
    Rule(
        code="l2.unaligned",
        severity=Severity.CORRUPTION,
        verdict=Verdict.CORRUPT,
        headline="# L2 entr{y does|ies do} not point to the start of a cluster",
        meaning="An L2 entry says where one cluster of the guest's disk lies in the file. This one "
        "points between two clusters, so it cannot be right.",
        cause=_STRAY,
        effect="The range cannot be read, and QEMU marks the image corrupt when the guest touches "
        "it.",
        repair=_DROP + _KEEP,
        option="--drop-unusable",
        impact=Impact.UNREADABLE,
    ),
    Rule(
        code="l2.unaligned-zero",
        severity=Severity.CORRUPTION,
        verdict=Verdict.CORRUPT,
        headline="# L2 entr{y reads|ies read} as zeros but {names|name} a place between clusters",
        meaning="The entry says that its range reads as zeros, and also keeps an offset that is "
        "not the start of a cluster and therefore useless.",
        cause=_STRAY,
        effect="None for reading: the range is zeros either way.",
        repair="`repair --errors` removes the offset; the range still reads as zeros.",
        option="--errors",
    ),
    Rule(
        code="l2.beyond-end",
        severity=Severity.CORRUPTION,
        verdict=Verdict.CORRUPT,
        headline="# L2 entr{y points|ies point} past the end of the file",
        meaning="An L2 entry says where one cluster of the guest's disk lies in the file; this one "
        "names a place where the file has already ended.",
        cause="The file was cut short, or the entry was overwritten.",
        effect="The range reads as zeros or not at all.",
        repair=_DROP + _KEEP,
        option="--drop-unusable",
        impact=Impact.UNREADABLE,
    ),
    Rule(
        code="l2.copied",
        severity=Severity.CORRUPTION,
        verdict=Verdict.COPIED,
        headline="# L2 entr{y has|ies have} a COPIED flag that disagrees with the refcount",
        meaning="COPIED says that nobody else uses the cluster, so that it may be changed in "
        "place. It must be set exactly when the cluster's refcount (the number of its users) is 1.",
        cause="The machine stopped between the change of a refcount and that of the flag, or the "
        "refcount itself is wrong.",
        effect="Reading is not affected. With the flag wrongly set, a write of the guest can "
        "change a snapshot as well; wrongly clear, it only costs a copy.",
        repair="`repair --errors` corrects the flag after the refcount is right.",
        option="--errors",
    ),
    Rule(
        code="l2.copied-no-offset",
        severity=Severity.NOTE,
        verdict=Verdict.GOOD,
        headline="# L2 entr{y carries|ies carry} a COPIED flag without an offset",
        meaning="The flag says that a cluster may be changed in place, but the entry names none.",
        cause="The offset was wiped while the flag stayed, or a bit flipped in an unused entry.",
        effect="None: the range is unallocated or zeros with or without the flag.",
        repair="`repair --errors` clears the flag.",
        option="--errors",
    ),
    Rule(
        code="l2.bit0-extended",
        severity=Severity.NOTE,
        verdict=Verdict.GOOD,
        headline="# extended L2 entr{y has|ies have} the old zero flag set",
        meaning="With extended entries a bitmap says what reads as zeros; the old flag for it has "
        "no meaning there.",
        cause=_STRAY,
        effect="None: QEMU ignores it.",
        repair="`repair --errors` clears the flag.",
        option="--errors",
    ),
    Rule(
        code="l2.compressed-copied",
        severity=Severity.CORRUPTION,
        verdict=Verdict.CORRUPT,
        headline="# L2 entr{y is|ies are} marked compressed and COPIED at once",
        meaning="A compressed cluster is never changed in place, so it cannot carry the COPIED "
        "flag. One of the two flags is wrong.",
        cause=_STRAY,
        effect="If the cluster is not really compressed, the guest gets an error or wrong data.",
        repair="`repair --errors` tries the stream: if it decodes, COPIED is cleared; if not, and "
        "the entry makes sense as an ordinary one, the compressed flag is. Otherwise it is left.",
        option="--errors",
        impact=Impact.DOUBT,
    ),
    Rule(
        code="l2.compressed-data-file",
        severity=Severity.CORRUPTION,
        verdict=Verdict.CORRUPT,
        headline="# compressed L2 entr{y|ies} in an image with an external data file",
        meaning="With an external data file every cluster lies there as it is; nothing can be "
        "compressed.",
        cause=_STRAY,
        effect="The range cannot be read.",
        repair="Left as it is. The data is most likely in the data file, at the same offset as on "
        "the disk.",
        impact=Impact.UNREADABLE,
    ),
    Rule(
        code="l2.compressed-bitmap",
        severity=Severity.CORRUPTION,
        verdict=Verdict.CORRUPT,
        headline="# compressed L2 entr{y has|ies have} a subcluster bitmap",
        meaning="The parts of a compressed cluster cannot be told apart, so the bitmap that says "
        "which of them hold data must be zero.",
        cause=_STRAY,
        effect="QEMU stops with an error when the guest reads the range.",
        repair="`repair --errors` clears the bitmap.",
        option="--errors",
        impact=Impact.DOUBT,
    ),
    Rule(
        code="l2.subclusters",
        severity=Severity.CORRUPTION,
        verdict=Verdict.CORRUPT,
        headline="# L2 entr{y calls|ies call} the same subclusters both data and zeros",
        meaning="An extended L2 entry says for each of the 32 parts of a cluster whether it holds "
        "data or reads as zeros; here it says both of the same part.",
        cause=_STRAY,
        effect="QEMU stops with an error when the guest reads the range.",
        repair="Left as it is: nothing in the image says which of the two is true.",
        impact=Impact.DOUBT,
    ),
    Rule(
        code="l2.subclusters-unallocated",
        severity=Severity.CORRUPTION,
        verdict=Verdict.CORRUPT,
        headline="# L2 entr{y says|ies say} that there is data, but not where",
        meaning="An extended L2 entry marks parts of the cluster as data although it names no "
        "place in the file.",
        cause="The offset was wiped while the bitmap stayed, or a bit flipped.",
        effect="QEMU stops with an error when the guest reads the range.",
        repair="Left as it is. " + _KEEP,
        impact=Impact.DOUBT,
    ),
    Rule(
        code="l2.zero-v2",
        severity=Severity.CORRUPTION,
        verdict=Verdict.CORRUPT,
        headline="# L2 entr{y has|ies have} the zero flag, which version 2 does not know",
        meaning="Only images of version 3 can say that a cluster reads as zeros.",
        cause="A flipped bit, or a program that changed the version of the image.",
        effect="Every access to the range fails. qemu-img says nothing about it.",
        repair="Left as it is. `qemu-img amend -o compat=1.1` would make it a version 3 image, "
        "where the entries mean zeros.",
        impact=Impact.UNREADABLE,
    ),
    Rule(
        code="l2.beyond-size",
        severity=Severity.WARNING,
        verdict=Verdict.OTHER,
        headline="# L2 entr{y maps|ies map} clusters beyond the size of the disk",
        meaning="The map holds data for addresses that the guest's disk does not have.",
        cause="The disk was made smaller by a tool that left the entries, or the size in the "
        "header is wrong.",
        effect="None while the size is right; if it is wrong, the end of the disk is missing.",
        repair="Left as it is. Make sure that the size of the disk is what it should be.",
    ),
    Rule(
        code="l2.data-file-offset",
        severity=Severity.CORRUPTION,
        verdict=Verdict.CORRUPT,
        headline="# L2 entr{y names|ies name} the wrong place in the data file",
        meaning="In an external data file every cluster lies at the same offset as on the guest's "
        "disk; this entry names another.",
        cause=_STRAY,
        effect="The range cannot be read, and QEMU marks the image corrupt when the guest touches "
        "it. qemu-img says nothing about it.",
        repair="Left as it is. The data is most likely in the data file, at the same offset as on "
        "the disk.",
        impact=Impact.UNREADABLE,
    ),
    Rule(
        code="l2.stream",
        severity=Severity.CORRUPTION,
        verdict=Verdict.CORRUPT,
        headline="# compressed cluster{|s} cannot be decompressed",
        meaning="What the entry leads to is no complete compressed stream. Only `check --deep` "
        "looks at this.",
        cause="The data was overwritten or cut off, or the entry gives it too few sectors.",
        effect="The range cannot be read.",
        repair="Not repaired: the data is not there any more.",
        impact=Impact.UNREADABLE,
    ),
    Rule(
        code="l2.wiped",
        severity=Severity.CORRUPTION,
        verdict=Verdict.CORRUPT,
        headline="# L2 table{|s} in use {is|are} all zeros and {was|were} probably wiped",
        meaning="An L2 table maps a range of the disk. This one is empty although other signs in "
        "the image say that it was not.",
        cause="The table was overwritten with zeros: a failed disk, a file system repair, a "
        "discard that hit the wrong place.",
        effect="The whole range reads as zeros or from the backing file. Its data is most likely "
        "still in the file, among the leaked clusters.",
        repair="Not repaired: the order of the clusters is lost with the table. " + _KEEP,
        impact=Impact.DOUBT,
    ),
    Rule(
        code="l2.empty",
        severity=Severity.LEAK,
        verdict=Verdict.LEAK,
        headline="# L2 table{|s} in use {is|are} all zeros: newly made, or wiped",
        meaning="An L2 table maps a range of the disk, and this one maps nothing. That is normal "
        "when the machine died right after making it.",
        cause="The machine died before the first entry was written, everything in the range was "
        "discarded, or, rarely, the table was wiped.",
        effect="The range reads as zeros or from the backing file. If that surprises you, the "
        "table was wiped.",
        repair="Left as it is. " + _KEEP,
        impact=Impact.DOUBT,
    ),
)
