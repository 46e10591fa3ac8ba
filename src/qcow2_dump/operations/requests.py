"""What was asked to be looked at, as values: both faces of the command line meet here."""

from dataclasses import dataclass
from typing import Literal

from qcow2_dump.errors import RequestError

__all__ = [
    "ALL_TREES",
    "DEFAULT_MAX_FINDINGS",
    "CheckRequest",
    "DuRequest",
    "DumpFormat",
    "DumpRequest",
    "DumpWhat",
    "ExitLike",
    "InfoRequest",
    "LocateRequest",
    "MapRequest",
    "PictureRequest",
    "ReportRequest",
]

DEFAULT_MAX_FINDINGS = 1000

ALL_TREES = "all"
"""The selector of every tree; others are ``active``, ``inactive`` (all snapshots), a snapshot's
ID or name, and ``snapshot[N]`` by its position. An exact ID wins over a name."""

ExitLike = Literal["qemu-img"]
"""Whose exit statuses to return instead of our own."""

DumpWhat = Literal["tables", "refcounts", "all"]
DumpFormat = Literal["text", "jsonl", "csv"]


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckRequest:
    """A check of some images, one after the other.

    ``deep`` also decompresses every compressed cluster. ``errors`` lists each finding,
    ``statistics`` adds the tables of counts; at most ``max_findings`` findings are kept for each
    image, while all are counted. ``memory`` is what a check may take in bytes, None for a quarter
    of the machine's: clusters that would take more are counted in several walks, and the result is
    the same. ``look_for_backing`` False leaves alone whether the backing file exists; ``lock``
    holds QEMU's image locks while reading. Raises RequestError for no images, or numbers below 0.
    """

    images: tuple[str, ...]
    deep: bool = False
    max_findings: int = DEFAULT_MAX_FINDINGS
    memory: int | None = None
    errors: bool = False
    statistics: bool = False
    exit_like: ExitLike | None = None
    look_for_backing: bool = True
    lock: bool = False

    def __post_init__(self) -> None:
        if not self.images:
            raise RequestError("no image to check")
        if self.max_findings < 0:
            raise RequestError(f"--max-findings is {self.max_findings}, must be 0 or more")
        if self.memory is not None and self.memory < 0:
            raise RequestError(f"--memory is {self.memory}, must be 0 or more")


@dataclass(frozen=True, slots=True, kw_only=True)
class InfoRequest:
    """What some images say of themselves; ``chain`` also opens their backing files.

    ``look_for_backing`` and ``lock`` are as in `CheckRequest`. Raises RequestError for no images.
    """

    images: tuple[str, ...]
    chain: bool = False
    look_for_backing: bool = True
    lock: bool = False

    def __post_init__(self) -> None:
        if not self.images:
            raise RequestError("no image to look at")


@dataclass(frozen=True, slots=True, kw_only=True)
class DumpRequest:
    """Every metadata entry of an image: of which trees, which half, in which form.

    ``snapshot`` selects trees as `ALL_TREES` says; ``flags`` adds the raw entries and their flags.
    ``deep``, ``look_for_backing`` and ``lock`` are as in `CheckRequest`.
    """

    image: str
    what: DumpWhat = "all"
    snapshot: str = ALL_TREES
    format: DumpFormat = "text"
    flags: bool = False
    deep: bool = False
    look_for_backing: bool = True
    lock: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class MapRequest:
    """Where the guest ranges of an image lie.

    ``snapshot`` names a snapshot instead of the active layer; ``chain`` also opens backing files.
    """

    image: str
    snapshot: str | None = None
    chain: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class PictureRequest:
    """A picture of an image's file from its start to its end."""

    image: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DuRequest:
    """What fills an image.

    ``sets`` also asks for sets of snapshots that free more together than one by one, ``without``
    names snapshots (as `ALL_TREES` says) to be deleted together. ``lock`` is as in `CheckRequest`.
    """

    image: str
    sets: bool = False
    without: tuple[str, ...] = ()
    lock: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class LocateRequest:
    """What holds a guest offset, or who owns the cluster at a host offset: one of the two.

    Offsets in bytes. Raises RequestError for both, neither, or a negative one.
    """

    image: str
    guest: int | None = None
    host: int | None = None

    def __post_init__(self) -> None:
        if (self.guest is None) == (self.host is None):
            raise RequestError("give either a guest offset or a host offset")
        if (self.guest or 0) < 0 or (self.host or 0) < 0:
            raise RequestError("an offset must be 0 or more")


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportRequest:
    """A page about each of some images, written to ``output``.

    Of several images, ``output`` is the index, and their pages lie beside it. ``deep``,
    ``max_findings``, ``look_for_backing`` and ``lock`` are as in `CheckRequest`. Raises
    RequestError for no images, no output, or fewer than no findings.
    """

    images: tuple[str, ...]
    output: str
    deep: bool = False
    max_findings: int = DEFAULT_MAX_FINDINGS
    look_for_backing: bool = True
    lock: bool = False

    def __post_init__(self) -> None:
        if not self.images:
            raise RequestError("no image to report on")
        if not self.output:
            raise RequestError("the name of the page to write is empty")
        if self.max_findings < 0:
            raise RequestError(f"--max-findings is {self.max_findings}, must be 0 or more")
