"""The tables of persistent bitmaps, entry by entry (format section 6.2)."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qcow2_dump.checks.host_space import HostSpace
from qcow2_dump.checks.mapping.entry_classes import EntryState
from qcow2_dump.image.image import Image
from qcow2_dump.image.tables import BitmapItem
from qcow2_dump.ondisk import arrays
from qcow2_dump.ondisk.bitmaps import BitmapEntryKind

__all__ = ["BitmapEntriesListed", "list_bitmap"]

# Bytes of a bitmap table held at a time.
_READ = 1 << 20


@dataclass(frozen=True, slots=True)
class BitmapEntriesListed:
    """Some entries of a bitmap table; arrays of one length, one item an entry from ``first`` on.

    ``raw`` (uint64) as stored, ``kinds`` (uint8) the BitmapEntryKind and ``states`` (uint8) the
    EntryState of each; invalid kinds count as unaligned. ``hosts`` (uint64) are offsets in bytes.
    ``rows`` (int64) are the positions of those to show.
    """

    item: BitmapItem
    first: int
    raw: NDArray[np.uint64]
    kinds: NDArray[np.uint8]
    states: NDArray[np.uint8]
    hosts: NDArray[np.uint64]
    rows: NDArray[np.int64]


def list_bitmap(
    image: Image, item: BitmapItem, *, bad_only: bool = False
) -> Iterator[BitmapEntriesListed]:
    """The entries of one bitmap's table as far as they lie inside the file, in pieces.

    With ``bad_only`` what is in order is left out of the rows. Raises SourceError when the table
    cannot be read.
    """
    space = HostSpace.of(image)
    start = item.entry.table_offset
    end = min(start + 8 * item.entry.table_size, space.end)
    for at in range(start, end, _READ):
        length = min(_READ, end - at) & ~7
        raw = arrays.decode_u64(image.source.read(at, length))
        kinds = arrays.bitmap_entry_kinds(raw, space.cluster_bits)
        hosts = arrays.l2_offsets(raw)
        states: NDArray[np.uint8] = (kinds == BitmapEntryKind.DATA).astype(np.uint8)  # USED is 1
        states[(states != 0) & (hosts >= np.uint64(space.end))] = EntryState.INVALID
        states[kinds == BitmapEntryKind.INVALID] = EntryState.UNALIGNED
        shown = states >= EntryState.UNALIGNED if bad_only else kinds != BitmapEntryKind.ALL_ZEROS
        yield BitmapEntriesListed(
            item, (at - start) >> 3, raw, kinds, states, hosts, np.flatnonzero(shown)
        )
