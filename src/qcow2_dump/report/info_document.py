"""The types of the document that `info --json` prints; its JSON Schema is generated from them.

The keys with a dash are those of ``qemu-img info --output=json``, with the same values; those
with an underscore are ours. Offsets, lengths and sizes are bytes. Names are text in which bytes
that are not UTF-8 appear as ``\\xff``.
"""

from typing import Literal, NotRequired, TypedDict

__all__ = [
    "Backing",
    "Bitmap",
    "Cipher",
    "DataFile",
    "Encryption",
    "Extension",
    "Feature",
    "File",
    "FormatData",
    "FormatSpecific",
    "InfoDocument",
    "InfoErrorDocument",
    "KeySlot",
    "Link",
    "MethodName",
    "Preallocation",
    "PresenceName",
    "ProblemLine",
    "QemuBitmap",
    "Snapshot",
    "SnapshotsDocument",
]

PresenceName = Literal["there", "missing", "not a path", "not looked for"]

MethodName = Literal["aes", "luks", "unknown"]

KeySlot = TypedDict(
    "KeySlot",
    {"active": bool, "key-offset": int, "iters": NotRequired[int], "stripes": NotRequired[int]},
)
"""One of the eight places for a passphrase; the last two keys only where it is in use."""

Cipher = TypedDict(
    "Cipher",
    {
        "format": Literal["aes", "luks"],
        "cipher-alg": NotRequired[str],
        "cipher-mode": NotRequired[str],
        "ivgen-alg": NotRequired[str],
        "ivgen-hash-alg": NotRequired[str],
        "hash-alg": NotRequired[str],
        "payload-offset": NotRequired[int],
        "master-key-iters": NotRequired[int],
        "uuid": NotRequired[str],
        "slots": NotRequired[list[KeySlot]],
    },
)
"""How guest data is encrypted; all but the format only where a LUKS header could be read."""


class QemuBitmap(TypedDict):
    """A bitmap that QEMU would load or show; flags ``in-use`` and ``auto``."""

    name: str
    granularity: int
    flags: list[str]


FormatData = TypedDict(
    "FormatData",
    {
        "compat": Literal["0.10", "1.1"],
        "compression-type": str,
        "refcount-bits": int,
        "lazy-refcounts": NotRequired[bool],
        "corrupt": NotRequired[bool],
        "extended-l2": NotRequired[bool],
        "bitmaps": NotRequired[list[QemuBitmap]],
        "encrypt": NotRequired[Cipher],
        "data-file": NotRequired[str],
        "data-file-raw": NotRequired[bool],
    },
)
"""Keys are there where qemu-img has them: ``lazy-refcounts``, ``corrupt`` and ``extended-l2`` in
version 3, the others where there is such a thing."""


class FormatSpecific(TypedDict):
    """What qemu-img has to say of qcow2 images only."""

    type: Literal["qcow2"]
    data: FormatData


Snapshot = TypedDict(
    "Snapshot",
    {
        "id": str,
        "name": str,
        "vm-state-size": int,
        "date-sec": int,
        "date-nsec": int,
        "vm-clock-sec": int,
        "vm-clock-nsec": int,
        "icount": NotRequired[int],
        "date_utc": str,
        "position": int,
        "offset": int,
        "l1_table_offset": int,
        "l1_size": int,
        "disk_size": int | None,
    },
)
"""One snapshot record; ``date_utc`` is the date as ISO 8601 has it, ``disk_size`` is null where
that of the image applies."""


class File(TypedDict):
    """The file or block device; ``allocated`` and ``file_system`` are null where not known."""

    length: int
    allocated: int | None
    file_system: str | None
    block_device: bool


class Feature(TypedDict):
    """One feature bit: those that the format or the image names, and all that are set.

    ``known`` is its name in the format, ``names`` are what the image's own table calls it.
    """

    word: str
    bit: int
    set: bool
    known: str | None
    names: list[str]
    disagrees: bool


class Extension(TypedDict):
    """One header extension; ``offset`` is that of its head, ``length`` that of its data."""

    type: int
    name: str
    offset: int
    length: int


class Bitmap(TypedDict):
    """One entry of the bitmap directory; granularity null when it is not below 2^64."""

    position: int
    name: str
    offset: int
    table_offset: int
    table_size: int
    granularity: int | None
    granularity_bits: int
    type: int
    flags: int
    in_use: bool
    auto: bool


class Encryption(TypedDict):
    """The encryption; the place of the LUKS header is null with other methods."""

    method: int
    name: MethodName
    offset: int | None
    length: int | None


class Backing(TypedDict):
    """The backing file; ``path`` is where its name leads from the image."""

    name: str
    path: str
    format: str | None
    presence: PresenceName


class DataFile(TypedDict):
    """The external data file; ``used`` is false where the header does not ask for one."""

    name: str | None
    raw: bool
    used: bool
    presence: PresenceName


class Preallocation(TypedDict):
    """The preallocation mode; null with a reason where it cannot be told."""

    mode: Literal["off", "metadata", "full"] | None
    reason: str | None


class ProblemLine(TypedDict):
    """What is wrong with a part, or keeps it from being read; not what `check` would find."""

    part: str
    message: str


InfoDocument = TypedDict(
    "InfoDocument",
    {
        "schema": Literal["qcow2-dump.info/1"],
        "image": str,
        "filename": str,
        "format": Literal["qcow2"],
        "virtual-size": int,
        "actual-size": NotRequired[int],
        "cluster-size": int,
        "dirty-flag": bool,
        "encrypted": bool,
        "snapshots": list[Snapshot],
        "backing-filename": NotRequired[str],
        "full-backing-filename": NotRequired[str],
        "backing-filename-format": NotRequired[str],
        "format-specific": FormatSpecific,
        "file": File,
        "header": dict[str, int],
        "features": list[Feature],
        "extensions": list[Extension],
        "bitmaps": list[Bitmap],
        "bitmaps_valid": bool,
        "encryption": Encryption | None,
        "backing": Backing | None,
        "data_file": DataFile | None,
        "preallocation": Preallocation,
        "problems": list[ProblemLine],
        "chain": "list[Link] | None",
    },
)
"""What an image says of itself. ``header`` holds every field by its name in the format
description; ``chain`` is null unless it was asked for."""


class Link(TypedDict):
    """One backing file; ``info`` is null for a raw disk and for one with an ``error``."""

    depth: int
    name: str
    path: str | None
    format: str | None
    probed: bool
    file: File | None
    error: str | None
    info: InfoDocument | None


class InfoErrorDocument(TypedDict):
    """An image that cannot be read or interpreted; ``errno`` is the system's name for why.

    ``header`` has the fields as they are stored, null where there are none.
    """

    schema: Literal["qcow2-dump.info/1"]
    image: str
    status: Literal["error"]
    exit_status: int
    error: str
    errno: NotRequired[str]
    header: dict[str, int] | None


class SnapshotsDocument(TypedDict):
    """The snapshots of an image as `snapshot list --json` prints them.

    ``unreadable`` counts the records that the header promises and that cannot be read.
    """

    schema: Literal["qcow2-dump.snapshots/1"]
    image: str
    snapshots: list[Snapshot]
    unreadable: int
