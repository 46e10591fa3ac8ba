"""`dump` as records: what each kind of metadata entry has to say, field by field."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from qcow2_dump.checks.listing.bitmaps import BitmapEntriesListed
from qcow2_dump.checks.listing.entries import L1Listed, L2Listed
from qcow2_dump.checks.listing.refcounts import BlockListed, RefcountsListed, RefcountState
from qcow2_dump.checks.mapping.entry_classes import EntryState
from qcow2_dump.checks.trees import Tree
from qcow2_dump.events import ImageOpened, ListingEvent, TreeBegun
from qcow2_dump.image.image import Image
from qcow2_dump.ondisk.bitmaps import BitmapEntryKind
from qcow2_dump.ondisk.mapping import ClusterType, EntryFlag
from qcow2_dump.report.entry_lines import FLAG_SETS, flag_sets
from qcow2_dump.report.entry_records import (
    FIELDS,
    FLAG_FIELDS,
    Choice,
    CsvRows,
    Hex,
    JsonLines,
    Number,
    Value,
)
from qcow2_dump.report.escape import plain

if TYPE_CHECKING:
    from qcow2_dump.events import Entries

__all__ = ["ListingRecords"]

_STATES = tuple(state.name.lower() for state in EntryState)
_REFCOUNT_STATES = tuple(state.name.lower() for state in RefcountState)
_TYPES = ("unallocated", "zero-plain", "zero-allocated", "normal", "compressed")
_BITMAP_TYPES = ("all-zeros", "all-ones", "data", "invalid")
_FLAGS = tuple(" ".join(names) for names in FLAG_SETS)

_Record = dict[str, Value]


class ListingRecords:
    """Turns the entries of a listing into JSON objects or rows of CSV, line ends included.

    ``flags`` adds to each entry what is stored, and the names of its flags.
    """

    def __init__(self, image: Image, *, csv: bool, flags: bool = False) -> None:
        self._image = image
        self._geometry = image.geometry
        fields = FIELDS + FLAG_FIELDS if flags else FIELDS
        self._format = CsvRows(fields) if csv else JsonLines(fields)
        self._tree: _Record = {}

    def take(self, event: "ListingEvent | Entries") -> Iterator[str]:
        """The records of one event; nothing for what is no entry."""
        if isinstance(event, ImageOpened):
            yield self._format.head()
        elif isinstance(event, TreeBegun):
            self._tree = {"tree": self._name(event.tree), "snapshot_index": event.tree.index}
        elif isinstance(event, L1Listed):
            yield from self._format.records(1, self._l1(event))
        elif isinstance(event, L2Listed):
            yield from self._format.records(len(event.rows), self._l2(event))
        elif isinstance(event, BlockListed):
            yield from self._format.records(1, self._block(event))
        elif isinstance(event, RefcountsListed):
            yield from self._format.records(len(event.rows), self._refcounts(event))
        elif isinstance(event, BitmapEntriesListed):
            yield from self._format.records(len(event.rows), self._bitmap(event))

    def _name(self, tree: Tree) -> str:
        """The whole ID of a snapshot, which labels may shorten."""
        if tree.index is None:
            return tree.label
        return plain(self._image.snapshot_table.entries[tree.index].record.id)

    def _l1(self, entry: L1Listed) -> _Record:
        return {
            "table": "l1",
            **self._tree,
            "l1_index": entry.index,
            "entry_offset_bytes": entry.place,
            "state": _STATES[entry.state],
            "host_offset_bytes": entry.offset or None,
            "guest_offset_bytes": entry.index * self._geometry.l1_span,
            "wrong": " ".join(entry.faults),
            "raw": f"{entry.raw:#x}",
            "flags": "COPIED" if entry.raw & EntryFlag.COPIED else "",
        }

    def _l2(self, table: L2Listed) -> _Record:
        rows = table.rows
        types, raw = table.types[rows], table.raw[rows]
        width = self._geometry.l2_entry_size
        placed = types >= ClusterType.ZERO_ALLOC
        record: _Record = {
            "table": "l2",
            **self._tree,
            "l1_index": table.parent.index,
            "l2_index": Number(rows),
            "entry_offset_bytes": Number(rows * width + table.parent.offset),
            "type": Choice(types, _TYPES),
            "state": Choice(table.states[rows], _STATES),
            "host_offset_bytes": Number(table.hosts[rows], placed),
            "guest_offset_bytes": Number(
                rows.astype(np.uint64) * np.uint64(table.cluster_size)
                + np.uint64(table.guest_start)
            ),
            "wrong": _wrong(table, rows),
            "raw": Hex(raw),
            "flags": Choice(flag_sets(raw, types), _FLAGS),
        }
        if table.lengths is None and placed.all():
            record["host_length_bytes"] = table.cluster_size
        else:
            record["host_length_bytes"] = Number(_host_lengths(table, rows, types), placed)
        if table.bitmaps is not None:
            bitmaps = table.bitmaps[rows]
            record["subclusters_allocated"] = Hex(bitmaps & np.uint64(0xFFFF_FFFF), 8)
            record["subclusters_zero"] = Hex(bitmaps >> np.uint64(32), 8)
        return record

    def _block(self, block: BlockListed) -> _Record:
        return {
            "table": "refcount_table",
            "refcount_table_index": block.index,
            "entry_offset_bytes": block.place,
            "state": _STATES[block.state],
            "host_offset_bytes": block.offset or None,
            "wrong": " ".join(block.faults),
            "raw": f"{block.raw:#x}",
            "flags": "",
        }

    def _refcounts(self, listed: RefcountsListed) -> _Record:
        geometry, rows = self._geometry, listed.rows
        clusters = (rows + listed.first).astype(np.uint64)
        within = rows + (listed.first - listed.parent.index * geometry.refcounts_per_block)
        # An impossible block may be said to lie further away than any file reaches.
        block = listed.parent.offset if listed.parent.readable else 0
        exists = np.full(len(rows), block != 0)
        # A refcount narrower than a byte lies somewhere in that byte.
        place = within * geometry.refcount_bits // 8 + block
        over = listed.too_many[rows].astype(np.uint8)
        return {
            "table": "refcount_block",
            "refcount_table_index": listed.parent.index,
            "refcount_block_index": Number(within),
            "entry_offset_bytes": Number(place, exists),
            "state": Choice(listed.states[rows], _REFCOUNT_STATES),
            "host_offset_bytes": Number(clusters << np.uint64(geometry.cluster_bits)),
            "cluster": Number(clusters),
            "refcount": Number(listed.stored[rows]),
            "references": Number(listed.counted[rows]),
            "wrong": Choice(over, ("", "refcount.overflow")),
            "raw": Hex(listed.stored[rows].astype(np.uint64)),
            "flags": "",
        }

    def _bitmap(self, listed: BitmapEntriesListed) -> _Record:
        rows = listed.rows
        kinds = listed.kinds[rows]
        placed = (kinds == BitmapEntryKind.DATA) | (kinds == BitmapEntryKind.INVALID)
        indices = rows + listed.first
        return {
            "table": "bitmap_table",
            "bitmap": plain(listed.item.entry.name),
            "bitmap_table_index": Number(indices),
            "entry_offset_bytes": Number(indices * 8 + listed.item.entry.table_offset),
            "type": Choice(kinds, _BITMAP_TYPES),
            "state": Choice(listed.states[rows], _STATES),
            "host_offset_bytes": Number(listed.hosts[rows], placed),
            "wrong": "",
            "raw": Hex(listed.raw[rows]),
            "flags": "",
        }


def _host_lengths(
    table: L2Listed, rows: NDArray[np.int64], types: NDArray[np.uint8]
) -> NDArray[np.uint64]:
    """The bytes at each host offset: a cluster, or a compressed stream."""
    lengths = np.full(len(rows), table.cluster_size, dtype=np.uint64)
    if table.lengths is not None:
        compressed = types == ClusterType.COMPRESSED
        lengths[compressed] = table.lengths[rows[compressed]]
    return lengths


def _wrong(table: L2Listed, rows: NDArray[np.int64]) -> Value:
    """The codes of the rules that each entry breaks, with spaces between them."""
    if not table.faults:
        return ""
    codes = np.zeros(len(rows), dtype=np.int64)
    for bit, mask in enumerate(table.faults.values()):
        codes |= mask[rows].astype(np.int64) << bit
    names = tuple(table.faults)
    words = tuple(
        " ".join(name for bit, name in enumerate(names) if code >> bit & 1)
        for code in range(1 << len(names))
    )
    return Choice(codes, words)
