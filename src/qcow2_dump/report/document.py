"""The types of the document that `check --json` prints; its JSON Schema is generated from them.

Offsets, lengths and sizes are bytes. Names are text in which bytes that are not UTF-8 appear as
``\\xff``. A key is only left out where a class says so.
"""

from typing import Literal, NotRequired, TypedDict

from qcow2_dump.checks.rule import Severity
from qcow2_dump.checks.verdict import Verdict

__all__ = [
    "SEVERITY",
    "STATUS_OF_VERDICT",
    "Bitmap",
    "CheckDocument",
    "Claim",
    "ErrorDocument",
    "FindingDocument",
    "Header",
    "Interrupted",
    "Kind",
    "Refcounts",
    "SeverityName",
    "Snapshot",
    "Status",
    "TableCounts",
    "TableReference",
    "Tables",
    "Totals",
    "TreeCounts",
    "TreeNames",
    "Triage",
]

SeverityName = Literal["corruption", "leak", "warning", "note"]

Status = Literal[
    "good",
    "leak",
    "copied",
    "flagged",
    "wrong",
    "snapshot-header",
    "corrupt",
    "flag",
    "other",
    "incomplete",
]
"""The verdict by its name in the exit-status table, or ``incomplete`` after an interruption."""

STATUS_OF_VERDICT: dict[Verdict, Status] = {
    Verdict.GOOD: "good",
    Verdict.LEAK: "leak",
    Verdict.COPIED: "copied",
    Verdict.FLAGGED: "flagged",
    Verdict.WRONG: "wrong",
    Verdict.SNAPSHOT: "snapshot-header",
    Verdict.CORRUPT: "corrupt",
    Verdict.FLAG: "flag",
    Verdict.OTHER: "other",
}

SEVERITY: dict[Severity, SeverityName] = {
    Severity.CORRUPTION: "corruption",
    Severity.LEAK: "leak",
    Severity.WARNING: "warning",
    Severity.NOTE: "note",
}


class Header(TypedDict):
    """The header: every field by its name in the format description, and what follows from it."""

    version: int
    backing_file_offset: int
    backing_file_size: int
    cluster_bits: int
    size: int
    crypt_method: int
    l1_size: int
    l1_table_offset: int
    refcount_table_offset: int
    refcount_table_clusters: int
    nb_snapshots: int
    snapshots_offset: int
    incompatible_features: int
    compatible_features: int
    autoclear_features: int
    refcount_order: int
    header_length: int
    compression_type: int
    cluster_size: int
    file_size: int
    features: list[str]
    backing_file: str | None
    backing_format: str | None
    data_file: str | None


class Snapshot(TypedDict):
    """One snapshot record; ``date`` is in seconds since 1970."""

    position: int
    id: str
    name: str
    offset: int
    l1_table_offset: int
    l1_size: int
    disk_size: int | None
    vm_state_size: int
    date: int


class Bitmap(TypedDict):
    """One entry of the bitmap directory."""

    position: int
    name: str
    offset: int
    table_offset: int
    table_size: int
    granularity: int
    flags: int
    in_use: bool


class TableCounts(TypedDict):
    """The entries of one kind of table; ``compressed`` are among the used."""

    entries: int
    used: int
    unused: int
    unaligned: int
    invalid: int
    compressed: int


class TreeCounts(TypedDict):
    """The tables of the active layer (``snapshot`` is null) or of the snapshot at a position."""

    snapshot: int | None
    examined: bool
    l1: TableCounts
    l2: TableCounts


class Refcounts(TypedDict):
    """Refcounts against references, in clusters; ``rebuild`` are among the errors."""

    error: int
    leak: int
    unused: int
    used: int
    rebuild: int


class Tables(TypedDict):
    """The statistics by table."""

    trees: list[TreeCounts]
    refcount_table: TableCounts
    refcounts: Refcounts


Totals = TypedDict(
    "Totals",
    {
        "image-end-offset": int,
        "total-clusters": int,
        "allocated-clusters": int,
        "fragmented-clusters": int,
        "compressed-clusters": int,
        "corruptions": int,
        "leaks": int,
        "check-errors": int,
    },
)
"""The keys of ``qemu-img check --output=json``, with the same meaning and the same numbers."""


class Kind(TypedDict):
    """All findings of one code, listed or not; ``count`` is their share of the totals.

    ``unsettled`` says how many of the places may be the work in progress of a writer.
    """

    severity: SeverityName
    places: int
    count: int
    guest_bytes: int
    unsettled: int


class Triage(TypedDict):
    """The leaks, in clusters: waste, and orphans that may be guest data, with the reasons."""

    waste: int
    orphans: int
    reasons: list[str]


class TreeNames(TypedDict):
    """The trees that reach a place: the first 16 (``active`` or snapshot IDs), and how many."""

    first: list[str]
    total: int


class TableReference(TypedDict):
    """A metadata structure."""

    kind: str
    offset: int


class Claim(TypedDict):
    """One owner of a cluster that has several.

    ``offset`` is the file offset of the field that names it: of the header itself 0, and of bitmap
    data the start of the bitmap table.
    """

    kind: str
    offset: int
    guest_offset: int | None
    l1_index: int | None
    l2_index: int | None
    trees: TreeNames


class FindingDocument(TypedDict):
    """One thing that is wrong, at one place.

    ``settled`` is false where it may be the work in progress of somebody who is writing. ``repair``
    is the command that mends it, null where none does by itself.
    """

    code: str
    severity: SeverityName
    message: str
    offset: int | None
    table: TableReference | None
    l1_index: int | None
    l2_index: int | None
    trees: TreeNames
    count: int
    settled: bool
    triage: Literal["waste", "orphan"] | None
    value: int | None
    expected: int | str | None
    cluster: int | None
    claimants: list[Claim]
    claimants_total: int
    guest_offset: int | None
    guest_length: int | None
    repair: str | None


class Interrupted(TypedDict):
    """A change of the image that was interrupted, or is under way.

    ``undo_file`` holds what it replaced, as long as it is ``usable``; ``message`` says what to do.
    """

    undo_file: str
    usable: bool
    message: str


class CheckDocument(TypedDict):
    """What a check found in one image.

    ``refusal`` says why QEMU 7.2 would not open the image or would give up checking it.
    ``complete`` is false after an interruption, and ``status`` then ``incomplete``.
    ``interrupted`` is null unless an earlier change was not brought to its end.
    """

    schema: Literal["qcow2-dump.check/1"]
    image: str
    status: Status
    exit_status: int
    complete: bool
    refusal: str | None
    header: Header
    snapshots: list[Snapshot]
    bitmaps: list[Bitmap]
    tables: Tables
    totals: Totals
    triage: Triage
    kinds: dict[str, Kind]
    findings: list[FindingDocument]
    findings_omitted: int
    advice: list[str]
    interrupted: Interrupted | None
    seconds: float


class ErrorDocument(TypedDict):
    """An image that could not be checked; ``errno`` is the system's name for why.

    ``interrupted`` is left out unless an earlier change was not brought to its end.
    """

    schema: Literal["qcow2-dump.check/1"]
    image: str
    status: Literal["error"]
    exit_status: int
    error: str
    errno: NotRequired[str]
    interrupted: NotRequired[Interrupted]
