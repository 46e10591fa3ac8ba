"""The classic report: the sections of the original tool's report, in its order.

Lines that scripts parse come from `entry_lines`, `listing_text` and `classic_header`; all the
other words are for people.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from qcow2_dump.checks.listing.shared import SharedListed
from qcow2_dump.checks.mapping.active_layer import ClustersElsewhere, WrongCopied
from qcow2_dump.events import (
    ActiveSummed,
    BitmapBegun,
    BitmapsBegun,
    CopiedBegun,
    CopiedEnded,
    HeaderRead,
    ImageChecked,
    LayoutBegun,
    LayoutEnded,
    ListingEvent,
    RefcountsBegun,
    SharedBegun,
    SharedEnded,
    SnapshotsBegun,
    TreeBegun,
)
from qcow2_dump.image.image import Image
from qcow2_dump.report.classic_header import header_lines, snapshot_lines
from qcow2_dump.report.classic_owners import copied_lines, elsewhere_lines, shared_lines
from qcow2_dump.report.classic_summary import finding_lines, summary_lines
from qcow2_dump.report.escape import printable
from qcow2_dump.report.listing_text import ListingText, bitmap_heading
from qcow2_dump.report.places import Trees
from qcow2_dump.report.style import Style
from qcow2_dump.report.units import counted

if TYPE_CHECKING:
    from qcow2_dump.events import Entries

__all__ = ["ClassicOptions", "ClassicReport"]

_RULE = "=" * 80
_THIN_RULE = "-" * 80


@dataclass(frozen=True, slots=True)
class ClassicOptions:
    """How the report is shown.

    ``flags`` adds the raw mapping entries and their flags, ``findings`` each finding that is not
    about an entry. ``refcounts`` says whether refcounts are judged.
    """

    flags: bool = False
    findings: bool = False
    refcounts: bool = True
    style: Style = field(default_factory=Style)


class ClassicReport:
    """Turns the events of a listing into the classic report, line ends included."""

    def __init__(self, image: Image, options: ClassicOptions) -> None:
        self._image = image
        self._options = options
        self._text = ListingText(image, flags=options.flags)
        self._trees = Trees(image)
        self._active: ActiveSummed | None = None

    def take(self, event: "ListingEvent | Entries") -> Iterator[str]:
        """The text of one event."""
        if isinstance(event, TreeBegun):
            yield from self._tree(event)
        elif isinstance(event, WrongCopied):
            yield from copied_lines(event)
        elif isinstance(event, SharedListed):
            yield from shared_lines(event, self._image.geometry.cluster_bits, self._trees)
        elif isinstance(event, ClustersElsewhere):
            yield from elsewhere_lines(event, self._image.geometry.cluster_bits)
        elif isinstance(event, BitmapBegun):
            yield bitmap_heading(event)
        elif isinstance(event, ActiveSummed):
            self._active = event
        elif isinstance(event, ImageChecked):
            yield from self.summary(event)
        else:
            yield from _lines(self._section(event))
            yield from self._text.entries(event)
            yield from self._text.statistics(event)

    def summary(self, checked: ImageChecked) -> Iterator[str]:
        """The last section; all there is to say of an interrupted run."""
        if self._options.findings:
            told = list(finding_lines(checked.result))
            if told:
                yield from _lines(_heading("Other findings:"))
                yield from _lines(told)
        yield from _lines(_heading("Summary:"))
        yield from _lines(
            summary_lines(
                checked,
                self._image,
                self._active,
                self._options.style,
                refcounts=self._options.refcounts,
            )
        )

    def _tree(self, event: TreeBegun) -> Iterator[str]:
        tree = event.tree
        where = f"at {tree.l1_offset:#x}, {counted(tree.l1_size, 'entry', 'entries')}"
        if tree.is_active:
            yield from _lines(_heading("Active tables:"))
            yield f"The active L1 table is {where}\n\n"
        else:
            name = self._trees.name(tree.label)
            yield f"\nTables of {name}, position {tree.index}: L1 table {where}\n\n"

    def _section(self, event: "ListingEvent | Entries") -> Iterator[str]:
        """Headings, and what is told of a section as a whole."""
        if isinstance(event, HeaderRead):
            yield ""
            yield f"File: {printable(self._image.name)}"
            yield _THIN_RULE
            yield from header_lines(event.info)
        elif isinstance(event, SnapshotsBegun):
            yield from _heading("Snapshots:")
            yield from snapshot_lines(event.entries)
        elif isinstance(event, BitmapsBegun):
            yield from _heading("Bitmaps:")
            if not event.valid:
                yield "They are not valid any more: QEMU ignores them."
        elif isinstance(event, RefcountsBegun):
            yield from _heading("Refcount structures:")
            header = self._image.header
            clusters = counted(header.refcount_table_clusters, "cluster")
            yield f"The refcount table is at {header.refcount_table_offset:#x}, {clusters}"
            yield ""
        else:
            yield from self._owners(event)

    def _owners(self, event: "ListingEvent | Entries") -> Iterator[str]:
        if isinstance(event, CopiedBegun):
            yield from _heading("COPIED flags of the active tables:")
        elif isinstance(event, CopiedEnded):
            yield f"COPIED wrong:   l1: {event.l1_wrong}, l2: {event.l2_wrong}"
        elif isinstance(event, SharedBegun):
            yield from _heading("Clusters with several owners:")
        elif isinstance(event, SharedEnded):
            yield f"Shared:         {event.clusters}"
        elif isinstance(event, LayoutBegun):
            yield from _heading("Preallocated layout:")
            if not event.applies:
                yield "With snapshots the layout says nothing about preallocation."
        elif isinstance(event, LayoutEnded):
            yield f"Elsewhere:      {event.elsewhere} of {event.clusters} data clusters"


def _heading(words: str) -> Iterator[str]:
    yield ""
    yield _RULE
    yield ""
    yield words
    yield _THIN_RULE


def _lines(lines: Iterable[str]) -> Iterator[str]:
    for line in lines:
        yield line + "\n"
