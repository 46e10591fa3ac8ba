"""The mapping entries of one tree in guest order, table by table, with what is said of each.

The check walks distinct tables in host order and reports what is wrong; here every table is met
where the guest's disk needs it, whatever else leads to it.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qcow2_dump.checks.catalogue import RULES, Severity
from qcow2_dump.checks.host_space import HostSpace
from qcow2_dump.checks.mapping.entry_classes import (
    EntryState,
    count_states,
    l1_states,
    l2_faults,
    l2_states,
)
from qcow2_dump.checks.result import TableStatistics
from qcow2_dump.checks.trees import Tree
from qcow2_dump.image.image import Image
from qcow2_dump.image.mapping_tables import read_l1_entries, read_l2_table
from qcow2_dump.ondisk import arrays
from qcow2_dump.ondisk.mapping import L1_RESERVED_MASK, L2_RESERVED_MASK, ClusterType, EntryFlag

__all__ = ["L1Listed", "L2Listed", "TreeLister"]

_ODD_BITS = np.uint64(L2_RESERVED_MASK | int(EntryFlag.ZERO | EntryFlag.COMPRESSED))
_ALLOCATED = int(ClusterType.NORMAL)

# Tables known to be in order, which a list of bad entries need not read again for each tree.
_MOST_CLEAN = 1 << 20

_NOTES = frozenset(code for code, rule in RULES.items() if rule.severity is Severity.NOTE)


@dataclass(frozen=True, slots=True)
class L1Listed:
    """An L1 entry that is not zero.

    ``place`` is its file offset and ``offset`` that of its L2 table, in bytes; ``faults`` are the
    codes of the rules that it breaks besides those that its state tells.
    """

    index: int
    place: int
    raw: int
    offset: int
    state: EntryState
    faults: tuple[str, ...] = ()

    @property
    def is_bad(self) -> bool:
        """Whether anything is wrong with it."""
        return self.state >= EntryState.UNALIGNED or bool(self.faults)


@dataclass(frozen=True, slots=True)
class L2Listed:
    """The entries of one L2 table; arrays of one length, one item an entry.

    ``raw`` (uint64) and, with extended L2, the subcluster ``bitmaps`` (uint64) as stored;
    ``types`` (uint8) are the ClusterType and ``states`` (uint8) the EntryState of each. ``hosts``
    (uint64) are host offsets in bytes, of the stream in compressed entries, 0 for none.
    ``faults`` marks the entries that break a rule (bool, by code). ``rows`` (int64) are the
    indices of the entries to show, and ``guest_start`` is the guest offset of the first entry.
    ``lengths`` (uint64) are the bytes of compressed streams, None without any. ``statistics``
    counts all entries.
    """

    parent: L1Listed
    guest_start: int
    cluster_size: int
    lengths: NDArray[np.uint64] | None
    raw: NDArray[np.uint64]
    bitmaps: NDArray[np.uint64] | None
    types: NDArray[np.uint8]
    states: NDArray[np.uint8]
    hosts: NDArray[np.uint64]
    faults: dict[str, NDArray[np.bool_]]
    rows: NDArray[np.int64]
    statistics: TableStatistics


class TreeLister:
    """Lists the entries of the trees of one image.

    With ``bad_only`` entries that are in order are left out, and so are tables without any other.
    """

    def __init__(self, image: Image, *, bad_only: bool = False) -> None:
        self._image = image
        self._space = HostSpace.of(image)
        self._bad_only = bad_only
        self._clean: set[tuple[int, int]] = set()

    def entries(self, tree: Tree) -> Iterator[L1Listed | L2Listed]:
        """Each L1 entry that leads somewhere, followed by its L2 table if that is one.

        An L1 entry is only given when it or anything in its table is. What unaligned entries and
        those past the end of the file lead to is no table. Raises SourceError when a table cannot
        be read.
        """
        if not tree.usable:
            return
        for indices, raw in read_l1_entries(self._image, tree.l1_offset, tree.l1_size):
            offsets = arrays.l1_offsets(raw)
            states = l1_states(offsets, self._space)
            items = zip(indices.tolist(), raw.tolist(), states.tolist(), strict=True)
            for index, value, state in items:
                entry = _l1_entry(tree, index, value, EntryState(state))
                yield from self._below(tree, entry)

    def _below(self, tree: Tree, entry: L1Listed) -> Iterator[L1Listed | L2Listed]:
        table = None
        inside = tree.entries_inside(entry.index, self._image.geometry)
        if entry.state is EntryState.USED and (entry.offset, inside) not in self._clean:
            table = self._table(entry, inside)
        if self._bad_only and table is not None and not len(table.rows):
            if len(self._clean) < _MOST_CLEAN:
                self._clean.add((entry.offset, inside))
            table = None
        if entry.is_bad or table is not None or not self._bad_only:
            yield entry
        if table is not None:
            yield table

    def _table(self, entry: L1Listed, inside: int) -> L2Listed:
        """The L2 table that an entry leads to; ``inside`` of its entries lie inside the disk."""
        geometry, header = self._image.geometry, self._image.header
        raw, bitmaps = read_l2_table(self._image, entry.offset)
        hosts = arrays.l2_offsets(raw)
        guest_start = geometry.guest_offset(entry.index, 0)
        lengths: NDArray[np.uint64] | None = None
        faults: dict[str, NDArray[np.bool_]] = {}
        if bitmaps is None and self._is_plain(raw, hosts):
            # Nearly all tables: allocated clusters and nothing else, all in order.
            states: NDArray[np.uint8] = (hosts != 0).astype(np.uint8)
            types = states * np.uint8(_ALLOCATED)
        else:
            types = arrays.cluster_types(
                raw, extended_l2=header.extended_l2, data_file=header.has_data_file
            )
            states = l2_states(raw, types, header, self._space)
            hosts, lengths = self._streams(raw, hosts, types)
            faults = l2_faults(raw, types, bitmaps, header)
        if inside < len(raw):
            faults["l2.beyond-size"] = types != ClusterType.UNALLOCATED
            faults["l2.beyond-size"][:inside] = False
        if header.has_data_file:
            faults["l2.data-file-offset"] = self._misplaced(hosts, types, guest_start)
        faults = {code: mask for code, mask in faults.items() if mask.any()}
        return L2Listed(
            parent=entry,
            guest_start=guest_start,
            cluster_size=geometry.cluster_size,
            lengths=lengths,
            raw=raw,
            bitmaps=bitmaps,
            types=types,
            states=states,
            hosts=hosts,
            faults=faults,
            rows=np.flatnonzero(self._shown(types, states, bitmaps, faults)),
            statistics=count_states(states, types),
        )

    def _shown(
        self,
        types: NDArray[np.uint8],
        states: NDArray[np.uint8],
        bitmaps: NDArray[np.uint64] | None,
        faults: dict[str, NDArray[np.bool_]],
    ) -> NDArray[np.bool_]:
        """The entries to show: those that are more than a curiosity, and all that map anything."""
        shown: NDArray[np.bool_] = states >= EntryState.UNALIGNED
        for code, mask in faults.items():
            if code not in _NOTES:
                shown |= mask
        if self._bad_only:
            return shown
        shown |= types != ClusterType.UNALLOCATED
        if bitmaps is not None:
            # Subclusters can read as zeros without a cluster to hold them.
            shown |= bitmaps != 0
        return shown

    def _is_plain(self, raw: NDArray[np.uint64], hosts: NDArray[np.uint64]) -> bool:
        """Whether all entries are unallocated or allocated, aligned and inside the file."""
        if self._image.header.has_data_file:
            return False
        odd = _ODD_BITS | np.uint64(self._space.cluster_size - 1 & ~511)
        if np.bitwise_or.reduce(raw) & odd or int(hosts.max()) >= self._space.end:
            return False
        return bool(np.count_nonzero(raw) == np.count_nonzero(hosts))

    def _streams(
        self, raw: NDArray[np.uint64], offsets: NDArray[np.uint64], types: NDArray[np.uint8]
    ) -> tuple[NDArray[np.uint64], NDArray[np.uint64] | None]:
        """Host offsets with those of compressed streams among them, and the streams' lengths."""
        compressed = types == ClusterType.COMPRESSED
        if not compressed.any():
            return offsets, None
        starts, lengths = arrays.compressed_extents(raw, self._space.cluster_bits)
        return np.where(compressed, starts, offsets), lengths

    def _misplaced(
        self, hosts: NDArray[np.uint64], types: NDArray[np.uint8], guest_start: int
    ) -> NDArray[np.bool_]:
        """Entries into a data file that lead to another offset than the guest's."""
        guest = np.arange(len(hosts), dtype=np.uint64) * np.uint64(self._space.cluster_size)
        guest += np.uint64(guest_start)
        mapped = (types == ClusterType.NORMAL) | (types == ClusterType.ZERO_ALLOC)
        misplaced: NDArray[np.bool_] = mapped & (hosts != guest)
        return misplaced


def _l1_entry(tree: Tree, index: int, raw: int, state: EntryState) -> L1Listed:
    place = tree.l1_offset + 8 * index
    faults = []
    if raw & L1_RESERVED_MASK:
        faults.append("l1.reserved")
    if state is EntryState.UNUSED:
        faults.append("l1.no-offset")
    offset = raw & ~L1_RESERVED_MASK & ~int(EntryFlag.COPIED)
    return L1Listed(index, place, raw, offset, state, tuple(faults))
