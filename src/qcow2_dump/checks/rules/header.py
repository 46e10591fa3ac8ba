"""The catalogue's rows on the header, its extensions, and the files that it names."""

from qcow2_dump.checks.rule import Impact, Rule, Severity
from qcow2_dump.checks.verdict import Verdict

__all__ = ["ROWS"]

_BY_HAND = (
    "Not repaired: nothing in the image says what the right value was. If you know it, write it "
    "with `qcow2-dump edit`."
)
_HEADER_CAUSE = (
    "The first sector of the file was overwritten or written only in part, or a tool set the "
    "field to something that the format does not allow."
)
_REFUSED = "QEMU refuses to open the image, so the guest does not start. Its data is untouched."

ROWS: tuple[Rule, ...] = (
    Rule(
        code="header.length",
        severity=Severity.CORRUPTION,
        verdict=Verdict.CORRUPT,
        headline="the header length is not possible",
        meaning="The header says how long it is. The value is less than the 104 bytes that every "
        "version 3 header has, or more than one cluster.",
        cause=_HEADER_CAUSE,
        effect=_REFUSED,
        repair=_BY_HAND,
    ),
    Rule(
        code="header.backing-offset",
        severity=Severity.CORRUPTION,
        verdict=Verdict.CORRUPT,
        headline="the backing file name is said to lie outside the first cluster",
        meaning="The header points to the name of the backing file (the image that this one builds "
        "upon). The name must lie in the first cluster of the file; the pointer leads elsewhere.",
        cause=_HEADER_CAUSE,
        effect=_REFUSED + " Without the backing file its disk is incomplete.",
        repair="Not repaired by itself. If you know the backing file, `qcow2-dump rebase` writes "
        "its name anew.",
    ),
    Rule(
        code="header.backing-name",
        severity=Severity.CORRUPTION,
        verdict=Verdict.CORRUPT,
        headline="the backing file name is longer than the place for it",
        meaning="The length of the backing file name is more than 1023 bytes, or more than what is "
        "left of the first cluster behind the place where it starts.",
        cause=_HEADER_CAUSE,
        effect=_REFUSED + " Without the backing file its disk is incomplete.",
        repair="Not repaired by itself. If you know the backing file, `qcow2-dump rebase` writes "
        "its name anew.",
    ),
    Rule(
        code="header.compression-type",
        severity=Severity.CORRUPTION,
        verdict=Verdict.CORRUPT,
        headline="the compression type is unknown or contradicts the feature bits",
        meaning="The header names how compressed clusters are packed (deflate or zstd), and a "
        "feature bit says whether that field counts. The two do not agree, or the type is neither.",
        cause=_HEADER_CAUSE,
        effect=_REFUSED,
        repair=_BY_HAND,
    ),
    Rule(
        code="header.extended-l2",
        severity=Severity.CORRUPTION,
        verdict=Verdict.CORRUPT,
        headline="extended L2 entries are switched on with clusters below 16 KiB",
        meaning="With extended L2 entries each cluster is divided into 32 parts of at least 512 "
        "bytes, which clusters below 16 KiB have no room for.",
        cause=_HEADER_CAUSE,
        effect=_REFUSED,
        repair=_BY_HAND,
    ),
    Rule(
        code="header.refcount-order",
        severity=Severity.CORRUPTION,
        verdict=Verdict.CORRUPT,
        headline="the width of refcounts is not possible",
        meaning="For each cluster of the file the image keeps a refcount: how many places use it. "
        "The header says how wide those numbers are, from 1 to 64 bits; it names more.",
        cause=_HEADER_CAUSE,
        effect=_REFUSED,
        repair=_BY_HAND + " 16 bits (order 4) is what nearly every image has.",
    ),
    Rule(
        code="header.refcount-table",
        severity=Severity.CORRUPTION,
        verdict=Verdict.CORRUPT,
        headline="the refcount table is not where, or not as long as, it can be",
        meaning="The refcount table leads to the refcounts, the numbers that say how many places "
        "use each cluster of the file. The header gives an offset that is not the start of a "
        "cluster, or a length of zero or beyond the limit.",
        cause=_HEADER_CAUSE,
        effect=_REFUSED + " The guest's data does not depend on refcounts until something writes.",
        repair="`repair --errors` counts every reference, writes new refcounts to the end of the "
        "file, and points the header to them.",
        option="--errors",
    ),
    Rule(
        code="header.l1-table",
        severity=Severity.CORRUPTION,
        verdict=Verdict.CORRUPT,
        headline="the active L1 table is not where, or not as long as, it can be",
        meaning="The L1 table is the root of the map from the guest's disk to the file. The header "
        "gives it an offset that is not the start of a cluster, or a length that does not fit the "
        "size of the disk.",
        cause=_HEADER_CAUSE,
        effect=_REFUSED + " Nothing of the present disk can be found until the root is.",
        repair="Not repaired by itself. With a snapshot, `qcow2-dump snapshot apply` makes the "
        "snapshot's tables the active ones. Without one, find the table and write its offset with "
        "`qcow2-dump edit`. Free nothing until then: the leaks of this image are its data.",
        impact=Impact.UNREADABLE,
    ),
    Rule(
        code="header.virtual-size",
        severity=Severity.CORRUPTION,
        verdict=Verdict.CORRUPT,
        headline="the size of the guest's disk is not possible",
        meaning="The header gives the disk a size that no L1 table could map.",
        cause=_HEADER_CAUSE,
        effect=_REFUSED,
        repair=_BY_HAND,
    ),
    Rule(
        code="header.crypt-method",
        severity=Severity.CORRUPTION,
        verdict=Verdict.CORRUPT,
        headline="the encryption method is unknown",
        meaning="The header names how the guest's data is encrypted: not at all, AES or LUKS. It "
        "names something else.",
        cause=_HEADER_CAUSE,
        effect=_REFUSED,
        repair=_BY_HAND,
    ),
    Rule(
        code="header.raw-data-file",
        severity=Severity.CORRUPTION,
        verdict=Verdict.CORRUPT,
        headline="the data file is called raw, but there can be none",
        meaning="One feature bit says that the external data file alone can be read as the raw "
        "disk; it only makes sense with the bit that says there is such a file, and not together "
        "with a backing file.",
        cause=_HEADER_CAUSE,
        effect=_REFUSED,
        repair=_BY_HAND,
    ),
    Rule(
        code="header.extension",
        severity=Severity.CORRUPTION,
        verdict=Verdict.CORRUPT,
        headline="# header extension{|s} {breaks|break} a rule of the format",
        meaning="Behind the header stands a list of extensions, each with a type and a length. One "
        "of them does not fit into its place or has a length that its type does not allow.",
        cause=_HEADER_CAUSE,
        effect=_REFUSED,
        repair=_BY_HAND,
    ),
    Rule(
        code="header.crypto",
        severity=Severity.CORRUPTION,
        verdict=Verdict.CORRUPT,
        headline="the pointer to the LUKS header cannot be used",
        meaning="An encrypted (LUKS) image points to the header that holds its key slots. The "
        "pointer is missing, is there although the image is not encrypted that way, or does not "
        "name the start of a cluster.",
        cause=_HEADER_CAUSE,
        effect=_REFUSED + " Without the LUKS header the data cannot be decrypted.",
        repair=_BY_HAND + " Change nothing else in the image before.",
    ),
    Rule(
        code="header.data-file-name",
        severity=Severity.CORRUPTION,
        verdict=Verdict.CORRUPT,
        headline="the data lies in another file, but nothing names that file",
        meaning="A feature bit says that the guest's data lies in an external data file; the "
        "extension that names the file is missing.",
        cause=_HEADER_CAUSE,
        effect="QEMU refuses to open the image unless it is told the data file.",
        repair="Not repaired: nothing in the image says what the name was. QEMU takes it as the "
        "option `data-file.filename`.",
    ),
    Rule(
        code="header.oddity",
        severity=Severity.WARNING,
        verdict=Verdict.OTHER,
        headline="# detail{|s} of the header that the format forbids and QEMU accepts",
        meaning="Extensions of the same type twice, a backing file name that overlaps the header, "
        "a bitmap bit or a data file name that belongs to nothing, a disk size that is not a "
        "multiple of 512 bytes, or the like.",
        cause="A tool wrote the header without following the format to the letter.",
        effect="None with QEMU; other programs may read the image differently or refuse it.",
        repair="A bitmap bit without bitmaps is cleared together with any other repair; the rest "
        "stays as it is.",
    ),
    Rule(
        code="header.padding",
        severity=Severity.NOTE,
        verdict=Verdict.GOOD,
        headline="the padding of the header is not as the format asks",
        meaning="Bytes that should be zero are not, or the header length is no multiple of 8.",
        cause="A tool wrote the header without following the format to the letter.",
        effect="None.",
        repair="Left as it is.",
    ),
    Rule(
        code="header.dirty",
        severity=Severity.WARNING,
        verdict=Verdict.OTHER,
        headline="the image is marked dirty: it was not closed properly",
        meaning="With lazy refcounts QEMU keeps the refcounts up to date only when it closes the "
        "image; the mark says that they may be out of date.",
        cause="The machine or QEMU stopped while the image was in use. It may be in use right now.",
        effect="QEMU repairs the whole image by itself the next time it opens it for writing. "
        "That repair also frees clusters that may be guest data, so look at the leaks first.",
        repair="The mark is cleared as soon as no corruption remains.",
        option="--all",
    ),
    Rule(
        code="header.corrupt-flag",
        severity=Severity.WARNING,
        verdict=Verdict.FLAGGED,
        headline="the image is marked corrupt",
        meaning="QEMU sets this mark when it meets metadata that cannot be right, to keep anybody "
        "from writing to the image before it has been repaired.",
        cause="QEMU stopped a write that would have overwritten metadata, or met a damaged table.",
        effect="The image can only be opened for reading.",
        repair="The mark is cleared once nothing worse than waste remains; `qcow2-dump flag clear` "
        "clears it at once.",
        option="--all",
    ),
    Rule(
        code="header.autoclear",
        severity=Severity.WARNING,
        verdict=Verdict.OTHER,
        headline="unknown autoclear feature bits are set",
        meaning="A program put extra information into the image and marked it valid with a bit "
        "that every other program clears before it writes.",
        cause="The image was written by a program or a version that knows more features.",
        effect="None for the disk. QEMU clears the bits, and with them the validity of that "
        "information, as soon as it opens the image for writing.",
        repair="The bits are cleared before anything else is written, as the format demands.",
        option="--all",
    ),
    Rule(
        code="backing.missing",
        severity=Severity.WARNING,
        verdict=Verdict.OTHER,
        headline="the backing file cannot be found",
        meaning="This image holds only what differs from its backing file, and no file is there by "
        "the name that the header gives.",
        cause="The backing file was moved, renamed or deleted, or the image was copied alone.",
        effect="The guest does not start. What the image itself holds is not affected.",
        repair="Not a matter of repair: put the file back, or write its new name with "
        "`qcow2-dump rebase`.",
    ),
    Rule(
        code="data-file.missing",
        severity=Severity.WARNING,
        verdict=Verdict.OTHER,
        headline="the data file cannot be found",
        meaning="All of the guest's data lies in an external data file, and no file is there by "
        "the name that the header gives.",
        cause="The data file was moved, renamed or deleted, or the image was copied alone.",
        effect="The guest does not start: this file holds only the map, not the data.",
        repair="Not a matter of repair: put the file back.",
    ),
)
