"""`dump` as text: the entries in the line shapes of the original tool, and their statistics."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from qcow2_dump.checks.listing.bitmaps import BitmapEntriesListed
from qcow2_dump.checks.listing.entries import L1Listed, L2Listed
from qcow2_dump.checks.listing.refcounts import BlockEnded, BlockListed, RefcountsListed
from qcow2_dump.events import (
    BitmapBegun,
    BitmapEnded,
    BitmapsBegun,
    ListingEvent,
    RefcountsEnded,
    TreeBegun,
    TreeEnded,
)
from qcow2_dump.image.image import Image
from qcow2_dump.ondisk.constants import KNOWN_BITMAP_FLAGS, BitmapFlag
from qcow2_dump.report import entry_lines
from qcow2_dump.report.classic_header import snapshot_lines
from qcow2_dump.report.escape import quoted

if TYPE_CHECKING:
    from qcow2_dump.events import Entries

__all__ = ["ListingText", "bitmap_heading"]


class ListingText:
    """Turns the events of a listing into text, line ends included.

    ``flags`` adds to each mapping entry what is stored, and the names of its flags.
    """

    def __init__(self, image: Image, *, flags: bool = False) -> None:
        self._image = image
        self._flags = flags
        self._snapshots = {entry.position: entry for entry in image.snapshot_table.entries}

    def take(self, event: "ListingEvent | Entries") -> Iterator[str]:
        """The text of one event; nothing for those of other reports."""
        if isinstance(event, TreeBegun):
            yield from self._heading(event)
        elif isinstance(event, BitmapBegun):
            yield bitmap_heading(event)
        elif isinstance(event, BitmapsBegun):
            if not event.valid:
                yield "the bitmaps are not valid any more: QEMU ignores them\n\n"
        else:
            yield from self.entries(event)
            yield from self.statistics(event)
            if isinstance(event, TreeEnded | BitmapEnded):
                yield "\n"

    def entries(self, event: "ListingEvent | Entries") -> Iterator[str]:
        """The lines of metadata entries, and those that count the entries of one table."""
        if isinstance(event, L2Listed):
            yield from entry_lines.l2_lines(event, flags=self._flags)
        elif isinstance(event, RefcountsListed):
            geometry = self._image.geometry
            yield from entry_lines.refcount_lines(
                event, geometry.cluster_bits, geometry.refcounts_per_block
            )
        elif isinstance(event, L1Listed):
            yield entry_lines.l1_line(event, flags=self._flags)
        elif isinstance(event, BlockListed):
            yield entry_lines.block_line(event, flags=self._flags)
        elif isinstance(event, BlockEnded):
            yield entry_lines.block_end_line(event)
        elif isinstance(event, BitmapEntriesListed):
            yield from entry_lines.bitmap_lines(event)

    def statistics(self, event: "ListingEvent | Entries") -> Iterator[str]:
        """The lines that count the entries of a tree, a bitmap or of the refcount structures."""
        if isinstance(event, TreeEnded):
            summed = event.statistics
            if not summed.examined:
                yield "the L1 table cannot be read where it is said to be\n"
            yield f"L1 Table:       {entry_lines.table_statistics(summed.l1)}\n"
            yield f"L2 Table:       {entry_lines.table_statistics(summed.l2)}\n"
        elif isinstance(event, BitmapEnded):
            yield f"Bitmap Table:   {entry_lines.table_statistics(event.statistics)}\n"
        elif isinstance(event, RefcountsEnded):
            result = event.result
            tally = result.tallies.get("refcount.block-missing")
            missing = tally.places if tally else 0
            table = entry_lines.table_statistics(result.refcount_table, missing)
            counts = entry_lines.refcount_statistics(result.refcounts, rebuild=True)
            yield f"Refcount Table:\t{table}\n"
            yield f"Refcount:       {counts}\n"

    def _heading(self, event: TreeBegun) -> Iterator[str]:
        tree = event.tree
        if tree.index is None:
            yield f"active:\tl1_table_offset: {tree.l1_offset:#x}, l1_size: {tree.l1_size}\n"
            return
        for line in snapshot_lines((self._snapshots[tree.index],)):
            yield line + "\n"


def bitmap_heading(event: BitmapBegun) -> str:
    """A line on a bitmap: its name, and what its directory entry says."""
    entry = event.item.entry
    names = [str(flag.name).lower() for flag in BitmapFlag if flag & entry.flags]
    if entry.flags & ~KNOWN_BITMAP_FLAGS:
        names.append(f"unknown {entry.flags & ~KNOWN_BITMAP_FLAGS:#x}")
    return (
        f"bitmap[{event.item.position}]:\ttable_offset: {entry.table_offset:#x}, "
        f"table_size: {entry.table_size}, name: {quoted(entry.name)}, "
        f"granularity_bits: {entry.granularity_bits}, flags: {' '.join(names) or 'none'}\n"
    )
