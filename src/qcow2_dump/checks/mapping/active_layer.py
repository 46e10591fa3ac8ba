"""The active layer once more, for what depends on stored refcounts and for its summary.

Which COPIED flags disagree with the stored refcounts, in guest order (format section 8.6); how
much the active layer holds alone; whether the disk is preallocated, and laid out as such.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qcow2_dump.checks.facts import CheckFacts
from qcow2_dump.checks.mapping.entry_classes import EntryState, l1_states
from qcow2_dump.checks.trees import Tree
from qcow2_dump.image.mapping_tables import read_l1_entries, read_l2_table
from qcow2_dump.ondisk import arrays
from qcow2_dump.ondisk.mapping import ClusterType, EntryFlag

__all__ = ["ActiveLayer", "ClustersElsewhere", "WrongCopied"]

_COPIED = np.uint64(int(EntryFlag.COPIED))


@dataclass(frozen=True, slots=True)
class WrongCopied:
    """Entries whose COPIED flag disagrees with the refcount; arrays of one length.

    They are entries of the L2 table to which L1 entry ``l1_index`` leads, or L1 entries where
    that is None. ``indices`` (int64), ``raw`` (uint64) and host offsets ``hosts`` (uint64, bytes)
    of the entries; ``stored`` (uint64) are the refcounts. ``guest_start`` is the guest offset of
    entry 0, ``guest_step`` the guest bytes of an entry.
    """

    l1_index: int | None
    guest_start: int
    guest_step: int
    indices: NDArray[np.int64]
    raw: NDArray[np.uint64]
    hosts: NDArray[np.uint64]
    stored: NDArray[np.uint64]


@dataclass(frozen=True, slots=True)
class ClustersElsewhere:
    """Data clusters that are not where preallocation puts them; arrays of one length.

    Preallocation lets the data clusters of an L2 table follow it in order. ``indices`` (int64) in
    the table of L1 entry ``l1_index``; host offsets ``hosts`` and ``expected`` (uint64, bytes).
    """

    l1_index: int
    guest_start: int
    indices: NDArray[np.int64]
    hosts: NDArray[np.uint64]
    expected: NDArray[np.uint64]


class ActiveLayer:
    """A walk over the active layer of an image that was checked.

    Gathers ``copied_clusters``, the data clusters with the COPIED flag, ``data_clusters`` that
    have a host cluster of their own, and ``is_full``: every guest cluster of the disk has one.
    """

    def __init__(self, facts: CheckFacts, tree: Tree) -> None:
        self._facts = facts
        self._image = facts.image
        self._tree = tree
        self._tables_left = facts.image.geometry.l1_entries_for(tree.disk_size)
        self.is_full = self._tables_left > 0
        self.copied_clusters = 0
        self.data_clusters = 0

    def walk(
        self, *, copied: bool, layout: bool = False
    ) -> Iterator[WrongCopied | ClustersElsewhere]:
        """Walk the tables, once; yield wrong COPIED flags and clusters elsewhere if asked to.

        Raises SourceError when a table cannot be read.
        """
        if not self._tree.usable:
            self.is_full = False
            return
        geometry, space = self._image.geometry, self._facts.space
        needed = self._tables_left
        entries = read_l1_entries(self._image, self._tree.l1_offset, self._tree.l1_size)
        for indices, raw in entries:
            offsets = arrays.l1_offsets(raw)
            self._tables_left -= int(np.count_nonzero((indices < needed) & (offsets != 0)))
            if copied:
                yield from self._wrong_copied(None, 0, geometry.l1_span, indices, raw, offsets)
            sound = l1_states(offsets, space) == EntryState.USED
            tables = zip(indices[sound].tolist(), offsets[sound].tolist(), strict=True)
            for index, offset in tables:
                yield from self._table(index, offset, copied, layout)
        self.is_full &= self._tables_left == 0

    def _table(
        self, l1_index: int, offset: int, copied: bool, layout: bool
    ) -> Iterator[WrongCopied | ClustersElsewhere]:
        geometry, header = self._image.geometry, self._image.header
        raw, _ = read_l2_table(self._image, offset)
        types = arrays.cluster_types(
            raw, extended_l2=header.extended_l2, data_file=header.has_data_file
        )
        inside = geometry.clusters(max(0, self._tree.disk_size - l1_index * geometry.l1_span))
        if (types[:inside] <= ClusterType.ZERO_PLAIN).any():
            self.is_full = False
        mapped = (types == ClusterType.NORMAL) | (types == ClusterType.ZERO_ALLOC)
        self.data_clusters += int(np.count_nonzero(mapped))
        self.copied_clusters += int(np.count_nonzero(mapped & ((raw & _COPIED) != 0)))
        rows = np.flatnonzero(mapped)
        if not len(rows):
            return
        start = geometry.guest_offset(l1_index, 0)
        hosts = arrays.l2_offsets(raw[rows])
        if copied and self._is_judged(offset):
            size = geometry.cluster_size
            yield from self._wrong_copied(l1_index, start, size, rows, raw[rows], hosts)
        if layout:
            expected = (rows + 1).astype(np.uint64) * np.uint64(geometry.cluster_size)
            expected += np.uint64(offset)
            away = np.flatnonzero(hosts != expected)
            if len(away):
                yield ClustersElsewhere(l1_index, start, rows[away], hosts[away], expected[away])

    def _is_judged(self, table: int) -> bool:
        """Whether the refcount of a table can be read; where it cannot, QEMU skips the table."""
        cluster = np.array([table >> self._facts.space.cluster_bits], dtype=np.int64)
        readable = self._facts.stored.is_readable(cluster)
        return readable is None or bool(readable[0])

    def _wrong_copied(
        self,
        l1_index: int | None,
        guest_start: int,
        guest_step: int,
        indices: NDArray[np.int64],
        raw: NDArray[np.uint64],
        hosts: NDArray[np.uint64],
    ) -> Iterator[WrongCopied]:
        """The entries among some with an offset whose flag is wrong, if there are any."""
        elsewhere = l1_index is not None and self._image.header.has_data_file
        clusters = self._facts.cluster_indices(hosts)
        missing = (raw & _COPIED) == 0
        # Clusters of a data file have no refcounts, and every entry there has the flag.
        wrong = missing if elsewhere else self._disagree(clusters, hosts, missing)
        rows = np.flatnonzero(wrong)
        if len(rows):
            stored = np.ones(len(rows), dtype=np.uint64)
            if not elsewhere:
                stored = self._facts.stored.values_of(clusters[rows])
            yield WrongCopied(
                l1_index, guest_start, guest_step, indices[rows], raw[rows], hosts[rows], stored
            )

    def _disagree(
        self, clusters: NDArray[np.int64], hosts: NDArray[np.uint64], missing: NDArray[np.bool_]
    ) -> NDArray[np.bool_]:
        """Whether a missing flag goes with a refcount of 1, or a set one with any other."""
        wrong: NDArray[np.bool_] = (self._facts.stored.is_one(clusters) == missing) & (hosts != 0)
        readable = self._facts.stored.is_readable(clusters)
        return wrong if readable is None else wrong & readable
