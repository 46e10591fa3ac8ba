"""What was asked to be changed, as values: both faces of the command line meet here.

Nothing here looks at an image: what contradicts itself is refused before any file is opened.
"""

from dataclasses import dataclass
from typing import Literal

from qcow2_dump.errors import RequestError

__all__ = [
    "DEFAULT_MAX_CHANGES",
    "EVERY_SNAPSHOT",
    "WIDTHS",
    "CopyRequest",
    "EditRequest",
    "FlagAction",
    "FlagRequest",
    "HeaderFlag",
    "RebaseRequest",
    "RepairRequest",
    "SnapshotAction",
    "SnapshotRequest",
    "UndoRequest",
    "WriteOptions",
    "WriteRequest",
]

DEFAULT_MAX_CHANGES = 1000

WIDTHS = (1, 2, 4, 8)
"""The integers that `EditRequest` can show and store, in bytes."""

EVERY_SNAPSHOT = "all"
"""The operand of ``delete`` that stands for every snapshot."""

SnapshotAction = Literal["list", "apply", "delete", "keep"]
FlagAction = Literal["mark", "clear"]
HeaderFlag = Literal["dirty", "corrupt"]

_END_OF_FILES = 2**63
_LONGEST_SNAPSHOT_NAME = 2**16 - 1
_LARGEST_CLUSTER = 2 << 20
_LONGEST_BACKING_NAME = 1023


@dataclass(frozen=True, slots=True, kw_only=True)
class WriteOptions:
    """How a change is made: shown only, with whose consent, and how it can be taken back.

    ``dry_run`` shows the plan, at most ``max_changes`` steps of it. ``yes`` is the consent given
    in advance. ``undo_file`` is a path to use instead of one beside the image, ``undo`` False
    means none at all. ``force_unlocked`` goes on where the image cannot be locked. Raises
    RequestError for an undo file without a name, and for fewer than no changes. Every request but
    `UndoRequest` raises it for an undo file that is not to be written.
    """

    dry_run: bool = False
    max_changes: int = DEFAULT_MAX_CHANGES
    yes: bool = False
    undo_file: str | None = None
    undo: bool = True
    force_unlocked: bool = False

    def __post_init__(self) -> None:
        if self.undo_file == "":
            raise RequestError("--undo-file needs a path")
        if self.max_changes < 0:
            raise RequestError(f"--max-changes is {self.max_changes}, must be 0 or more")


_AS_USUAL = WriteOptions()


@dataclass(frozen=True, slots=True, kw_only=True)
class RepairRequest:
    """What to mend in an image.

    ``leaks`` lowers refcounts that are too high, ``errors`` mends what can be mended in place,
    ``everything`` is both and whatever else gives up neither guest data nor space; ``reuse``
    copies clusters with several owners apart. ``free_orphans`` also frees clusters that may be
    guest data. The ``drop`` options give something up: unusable entries, bitmaps, the snapshot
    records at these positions. Raises RequestError for no choice, and for a negative position.
    """

    image: str
    leaks: bool = False
    errors: bool = False
    reuse: bool = False
    everything: bool = False
    free_orphans: bool = False
    drop_unusable: bool = False
    drop_bitmaps: bool = False
    drop_snapshots: tuple[int, ...] = ()
    deep: bool = False
    look_for_backing: bool = True
    options: WriteOptions = _AS_USUAL

    def __post_init__(self) -> None:
        _check_undo(self.options)
        chosen = (self.leaks, self.errors, self.reuse, self.everything, self.drop_unusable)
        if not any((*chosen, self.drop_bitmaps, self.drop_snapshots)):
            raise RequestError("no repair was chosen")
        if any(position < 0 for position in self.drop_snapshots):
            raise RequestError("--drop-snapshot takes a position in the snapshot table, from 0")


@dataclass(frozen=True, slots=True, kw_only=True)
class UndoRequest:
    """Take back the last change of an image; ``listing`` only shows what can be taken back.

    ``finish`` brings an interrupted change to its end instead. Of the options, ``undo_file`` names
    the undo file to use, ``undo`` says whether to write one. Raises RequestError for both of
    ``listing`` and ``finish``.
    """

    image: str
    listing: bool = False
    finish: bool = False
    options: WriteOptions = _AS_USUAL

    def __post_init__(self) -> None:
        if self.listing and self.finish:
            raise RequestError("--list and --finish contradict each other")


@dataclass(frozen=True, slots=True, kw_only=True)
class SnapshotRequest:
    """List the snapshots of an image, apply or delete one, or keep one and delete the others.

    ``snapshot`` is an ID, a name or ``snapshot[N]`` by position, an exact ID first; for deleting
    also `EVERY_SNAPSHOT`. Raises RequestError when it is missing, or cannot be a name.
    """

    image: str
    action: SnapshotAction = "list"
    snapshot: str | None = None
    options: WriteOptions = _AS_USUAL

    def __post_init__(self) -> None:
        _check_undo(self.options)
        if self.action == "list":
            if self.snapshot is not None:
                raise RequestError("snapshot list takes no snapshot")
        elif not self.snapshot:
            raise RequestError(f"snapshot {self.action} needs a snapshot: an ID or a name")
        elif len(self.snapshot.encode("utf-8", "surrogateescape")) > _LONGEST_SNAPSHOT_NAME:
            raise RequestError(f"no snapshot has a name of over {_LONGEST_SNAPSHOT_NAME:,} bytes")


@dataclass(frozen=True, slots=True, kw_only=True)
class FlagRequest:
    """Set or clear the dirty or the corrupt flag in the header.

    ``free_orphans`` marks an image dirty even where QEMU would then free clusters that may be
    guest data. Raises RequestError for that with anything else.
    """

    image: str
    action: FlagAction
    flag: HeaderFlag
    free_orphans: bool = False
    options: WriteOptions = _AS_USUAL

    def __post_init__(self) -> None:
        _check_undo(self.options)
        if self.free_orphans and (self.action, self.flag) != ("mark", "dirty"):
            raise RequestError("--free-orphans goes with marking an image dirty")


@dataclass(frozen=True, slots=True, kw_only=True)
class EditRequest:
    """Show the big-endian integer at a file offset and, given a value, store it.

    ``offset`` in bytes; ``width`` in bytes, one of `WIDTHS`. Raises RequestError for another
    width, an offset that no file has, or a value that does not fit the width.
    """

    image: str
    offset: int
    value: int | None = None
    width: int = 8
    options: WriteOptions = _AS_USUAL

    def __post_init__(self) -> None:
        _check_undo(self.options)
        if self.width not in WIDTHS:
            raise RequestError(f"the width is {self.width}, must be 1, 2, 4 or 8 bytes")
        _check_offset("the offset", self.offset)
        if self.value is not None and not 0 <= self.value < 1 << (8 * self.width):
            number = f"{self.width} byte{'s' if self.width > 1 else ''}"
            raise RequestError(f"the value {self.value:#x} does not fit into {number}")


@dataclass(frozen=True, slots=True, kw_only=True)
class CopyRequest:
    """Copy up to one cluster of bytes within an image, or from another file.

    ``source`` and ``destination`` are file offsets and ``length`` is a size, in bytes; ``file``
    names the file to read, None for the image itself. Raises RequestError for an offset that no
    file has, no bytes, or more than the largest cluster (2 MiB).
    """

    image: str
    source: int
    destination: int
    length: int
    file: str | None = None
    options: WriteOptions = _AS_USUAL

    def __post_init__(self) -> None:
        _check_undo(self.options)
        _check_offset("the offset to copy from", self.source)
        _check_offset("the offset to copy to", self.destination)
        if not 0 < self.length <= _LARGEST_CLUSTER:
            raise RequestError(
                f"the length is {self.length:,} bytes, must be 1 up to one cluster, "
                f"which is never over {_LARGEST_CLUSTER:,}"
            )
        if self.file == "":
            raise RequestError("--file needs a path")


@dataclass(frozen=True, slots=True, kw_only=True)
class RebaseRequest:
    """Write another backing file name into the header; no guest data is moved.

    ``look_for_backing`` False takes the name without looking whether the file exists. Raises
    RequestError for a name that the header has no room for (1 to 1023 bytes).
    """

    image: str
    backing: str
    look_for_backing: bool = True
    options: WriteOptions = _AS_USUAL

    def __post_init__(self) -> None:
        _check_undo(self.options)
        length = len(self.backing.encode("utf-8", "surrogateescape"))
        if not 0 < length <= _LONGEST_BACKING_NAME:
            raise RequestError(
                f"the backing file name has {length:,} bytes, "
                f"must have 1 to {_LONGEST_BACKING_NAME:,}"
            )


WriteRequest = (
    RepairRequest
    | UndoRequest
    | SnapshotRequest
    | FlagRequest
    | EditRequest
    | CopyRequest
    | RebaseRequest
)


def _check_undo(options: WriteOptions) -> None:
    if options.undo_file is not None and not options.undo:
        raise RequestError("--undo-file and --no-undo contradict each other")


def _check_offset(what: str, offset: int) -> None:
    if not 0 <= offset < _END_OF_FILES:
        raise RequestError(f"{what} is {offset:#x}, must be 0 up to {_END_OF_FILES - 1:#x}")
