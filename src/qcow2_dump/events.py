"""The one stream that a run over an image yields, and that every renderer eats.

A check yields `ImageOpened`, then `Progress` and `FindingSeen` in any order, then `ImageChecked`;
or `ImageFailed` at any point, which ends it. `WriterSeen` comes at most once, behind `ImageOpened`:
then the result says what of it is settled.

A listing yields `ImageOpened`, then these sections, each of which may be missing, with
`Progress` between any two events, and `ImageChecked` at the end:

- `HeaderRead`;
- `SnapshotsBegun`, before the first tree of a snapshot;
- for each tree `TreeBegun`, its entries, `TreeEnded`;
- `BitmapsBegun`, for each bitmap `BitmapBegun`, its entries, `BitmapEnded`;
- `RefcountsBegun`, the blocks and their refcounts, `RefcountsEnded`;
- `CopiedBegun`, wrong flags, `CopiedEnded`;
- `SharedBegun`, clusters with several owners, `SharedEnded`;
- `LayoutBegun`, clusters out of place, `LayoutEnded`;
- `ActiveSummed`.

Entries come as the values of `checks.listing` and its neighbours, arrays of a table at a time.
They are named tuples, which take a tenth of a dataclass's time to make when a command starts.
"""

from typing import TYPE_CHECKING, Literal, NamedTuple

from qcow2_dump.checks.findings import Finding
from qcow2_dump.checks.result import CheckResult, TableStatistics, TreeStatistics
from qcow2_dump.checks.trees import Tree
from qcow2_dump.image.image import Image
from qcow2_dump.image.tables import BitmapItem, SnapshotEntry

if TYPE_CHECKING:  # a check that loads this module need not wait for what listings need
    from qcow2_dump.checks.listing.bitmaps import BitmapEntriesListed
    from qcow2_dump.checks.listing.entries import L1Listed, L2Listed
    from qcow2_dump.checks.listing.refcounts import BlockEnded, BlockListed, RefcountsListed
    from qcow2_dump.checks.listing.shared import SharedListed
    from qcow2_dump.checks.mapping.active_layer import ClustersElsewhere, WrongCopied
    from qcow2_dump.checks.maps.picture import Picture
    from qcow2_dump.image.info import ImageInfo

__all__ = [
    "ActiveSummed",
    "BitmapBegun",
    "BitmapEnded",
    "BitmapsBegun",
    "ChangeMade",
    "CopiedBegun",
    "CopiedEnded",
    "Event",
    "FindingSeen",
    "HeaderRead",
    "ImageChecked",
    "ImageFailed",
    "ImageOpened",
    "ImagePictured",
    "LayoutBegun",
    "LayoutEnded",
    "ListingEvent",
    "Progress",
    "RefcountsBegun",
    "RefcountsEnded",
    "SharedBegun",
    "SharedEnded",
    "SnapshotsBegun",
    "TreeBegun",
    "TreeEnded",
    "WriterSeen",
]


class ImageOpened(NamedTuple):
    """An image was opened and its header read."""

    name: str
    image: Image


class WriterSeen(NamedTuple):
    """Somebody has the image open for writing: what is found may be changing meanwhile.

    ``gone`` says that nobody has it open by now, but somebody wrote to it while it was read.
    """

    name: str
    gone: bool = False


class Progress(NamedTuple):
    """How far a stage has come, in bytes of metadata read out of those to read."""

    stage: str
    done: int
    total: int


class FindingSeen(NamedTuple):
    """A finding, as it is made. The result's own list may know more of it: owners, triage, and
    whether it is settled."""

    finding: Finding


class ImageChecked(NamedTuple):
    """The end of a check: what it found, and the time that it took in seconds."""

    name: str
    result: CheckResult
    seconds: float


class ImageFailed(NamedTuple):
    """The run over this image failed: why, in one line, and the errno."""

    name: str
    reason: str
    errno: int


class ImagePictured(NamedTuple):
    """An image was checked and mapped, for a page about it.

    ``started`` is the time at which the check began, in seconds since 1970.
    """

    name: str
    image: Image
    info: "ImageInfo"
    checked: ImageChecked
    picture: "Picture"
    started: int


class ChangeMade(NamedTuple):
    """The end of a change: all of it is on the disk.

    ``undo_file`` takes it back, None where there is none. Unless ``is_found``, nothing beside the
    image leads to it: whoever takes the change back has to name it. ``earlier`` is the undo file
    that, after something was taken back, goes back by one more change.
    """

    name: str
    undo_file: str | None
    is_found: bool = True
    earlier: str | None = None


Event = ImageOpened | WriterSeen | Progress | FindingSeen | ImageChecked | ImageFailed


class HeaderRead(NamedTuple):
    """What the image says of itself."""

    info: "ImageInfo"


class SnapshotsBegun(NamedTuple):
    """The image has snapshots: all of them, of which some or all follow."""

    entries: tuple[SnapshotEntry, ...]


class TreeBegun(NamedTuple):
    """The entries of this tree follow, in guest order."""

    tree: Tree


class TreeEnded(NamedTuple):
    """The end of a tree, with the statistics of all its entries, listed or not."""

    tree: Tree
    statistics: TreeStatistics


class BitmapsBegun(NamedTuple):
    """The image has persistent bitmaps; they follow if the header vouches for them (``valid``)."""

    valid: bool


class BitmapBegun(NamedTuple):
    """The table of this bitmap follows."""

    item: BitmapItem


class BitmapEnded(NamedTuple):
    """The end of a bitmap's table, with the statistics of its entries."""

    item: BitmapItem
    statistics: TableStatistics


class RefcountsBegun(NamedTuple):
    """The refcount table and its blocks follow."""


class RefcountsEnded(NamedTuple):
    """The end of the refcounts; ``result`` holds their statistics."""

    result: CheckResult


class CopiedBegun(NamedTuple):
    """The entries of the active layer with a wrong COPIED flag follow."""


class CopiedEnded(NamedTuple):
    """The number of L1 and L2 entries with a wrong COPIED flag, listed or not."""

    l1_wrong: int
    l2_wrong: int


class SharedBegun(NamedTuple):
    """The clusters with several owners follow."""


class SharedEnded(NamedTuple):
    """The number of clusters with several owners, listed or not."""

    clusters: int


class LayoutBegun(NamedTuple):
    """The data clusters follow that are not where preallocation puts them.

    With snapshots (``applies`` False) the layout says nothing, and none follow.
    """

    applies: bool


class LayoutEnded(NamedTuple):
    """How many data clusters are elsewhere, of how many."""

    elsewhere: int
    clusters: int


class ActiveSummed(NamedTuple):
    """The preallocation mode, None where it cannot be told; bytes that only the active layer
    holds."""

    preallocation: Literal["off", "metadata", "full"] | None
    held_alone: int


ListingEvent = (
    ImageOpened
    | WriterSeen
    | Progress
    | ImageChecked
    | HeaderRead
    | SnapshotsBegun
    | TreeBegun
    | TreeEnded
    | BitmapsBegun
    | BitmapBegun
    | BitmapEnded
    | RefcountsBegun
    | RefcountsEnded
    | CopiedBegun
    | CopiedEnded
    | SharedBegun
    | SharedEnded
    | LayoutBegun
    | LayoutEnded
    | ActiveSummed
)

if TYPE_CHECKING:
    Entries = (
        L1Listed
        | L2Listed
        | BitmapEntriesListed
        | BlockListed
        | RefcountsListed
        | BlockEnded
        | WrongCopied
        | ClustersElsewhere
        | SharedListed
    )
