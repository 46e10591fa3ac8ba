"""Who claims some host clusters: a second walk, made only when there is something to name."""

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from qcow2_dump.checks.bitset import BitSet
from qcow2_dump.checks.facts import CheckFacts
from qcow2_dump.checks.findings import Claimant
from qcow2_dump.checks.owners.claims import MOST_CLAIMANTS, Claims
from qcow2_dump.checks.pass_bitmaps import bitmap_clusters
from qcow2_dump.checks.tables.l2_batches import L2Batch, read_l2_batches
from qcow2_dump.ondisk import arrays
from qcow2_dump.ondisk.mapping import EntryFlag

__all__ = ["ClaimantFinder"]

# Owners told apart over all clusters; each cluster may have two of them in any case.
_MOST_IN_ALL = 1 << 15

# Tables whose owners are worked out once although many of their entries ask for them.
_REMEMBERED_TABLES = 64

_COMPRESSED = np.uint64(int(EntryFlag.COMPRESSED))

_Group = tuple[int, list[NDArray[np.int64]]]


class ClaimantFinder:
    """Names the owners of the clusters that it is given (int64, ascending, distinct)."""

    def __init__(self, facts: CheckFacts, clusters: NDArray[np.int64]) -> None:
        self._facts = facts
        self._clusters = clusters
        # The set reaches from the first to the last of them; a single one needs none.
        self._base = int(clusters.min(initial=0))
        reach = int(clusters.max(initial=0)) + 1 - self._base
        self._wanted = None if len(clusters) == 1 else BitSet(reach)
        if self._wanted is not None:
            self._wanted.add(clusters - self._base)
        bits = facts.space.cluster_bits
        # What is not aligned may begin in the cluster before.
        self._lowest = np.uint64(max(0, int(clusters.min(initial=0)) - 1) << bits)
        self._reach = np.uint64((int(clusters.max(initial=0)) + 1) << bits) - self._lowest
        self._most = max(2, min(MOST_CLAIMANTS, _MOST_IN_ALL // max(1, len(clusters))))
        self._open: dict[str, NDArray[np.bool_]] = {}
        self._by_table: dict[int, list[Claimant]] = {}
        self.claims: dict[int, Claims] = {c: Claims(self._most) for c in clusters.tolist()}

    def find(self) -> Iterator[int]:
        """Walk everything that claims clusters. Yields the bytes of L2 tables read so far."""
        self._find_regions()
        self._find_bitmap_data()
        self._find_blocks()
        self._find_l2_tables()
        facts, done = self._facts, 0
        geometry = facts.image.geometry
        if facts.image.header.has_data_file:
            return
        tables = facts.tables.reaching(int(self._clusters.max(initial=0)))
        for batch in read_l2_batches(facts.image.source, geometry, tables):
            self._find_data(batch)
            done += batch.entries.size * geometry.l2_entry_size
            yield done

    def _is_wanted(self, clusters: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Which claims are of a cluster to name the owners of: bool, same shape."""
        if self._wanted is not None:
            places = clusters - self._base
            # What lies before the first becomes a large number.
            inside = np.flatnonzero(places.view(np.uint64) < self._wanted.size)
            found = np.zeros(len(clusters), dtype=np.bool_)
            found[inside] = self._wanted.contains(places[inside])
            return found
        # One cluster needs no set, and may lie past the end of the file.
        wanted: NDArray[np.bool_] = clusters == self._clusters[0]
        return wanted

    def _still_open(self, kind: str) -> NDArray[np.bool_]:
        """Which of the clusters may get another owner of a kind: bool[clusters]."""
        if kind not in self._open:
            self._open[kind] = np.ones(len(self._clusters), dtype=np.bool_)
        return self._open[kind]

    def _add(self, cluster: int, claimants: Iterable[Claimant]) -> None:
        """Add owners of one kind, until there are too many."""
        claims = self.claims[cluster]
        for claimant in claimants:
            claims.add(claimant)
            if claims.more and not claims.takes(claimant.kind):
                at = np.searchsorted(self._clusters, cluster)
                self._still_open(claimant.kind)[at] = False
                return

    def _groups(
        self, kind: str, clusters: NDArray[np.int64], keys: NDArray[np.int64]
    ) -> Iterator[_Group]:
        """Sort claims by cluster and key: ``(cluster, positions of each distinct key)``.

        Two arrays of one length; a key stands for an owner. Only clusters that are wanted, and one
        key more than are told apart.
        """
        hits = np.flatnonzero(self._is_wanted(clusters))
        if not len(hits):
            return
        at = np.searchsorted(self._clusters, clusters[hits])
        hits = hits[self._still_open(kind)[at]]
        hits = hits[np.lexsort((keys[hits], clusters[hits]))]
        cluster, key = clusters[hits], keys[hits]
        fresh = np.ones(len(hits), dtype=np.bool_)
        fresh[1:] = (cluster[1:] != cluster[:-1]) | (key[1:] != key[:-1])
        heads = np.flatnonzero(fresh)
        ends = np.append(heads[1:], len(hits))
        found, first, number = np.unique(cluster[heads], return_index=True, return_counts=True)
        for wanted, start, times in zip(
            found.tolist(), first.tolist(), number.tolist(), strict=True
        ):
            chosen = range(start, start + min(times, self._most + 1))
            yield wanted, [hits[heads[i] : ends[i]] for i in chosen]

    def _find_regions(self) -> None:
        facts = self._facts
        # Two snapshots with one L1 table are two owners: the pointer tells them apart.
        distinct = {(r.kind, r.offset, r.length, r.tree and r.place): r for r in facts.regions}
        for region in distinct.values():
            if facts.space.is_beyond(region.offset, region.length):
                continue
            trees = () if region.tree is None else (region.tree,)
            claimant = Claimant(region.kind, region.place, trees=trees, trees_total=len(trees))
            bounds = facts.space.span(region.offset, region.length)
            start, stop = np.searchsorted(self._clusters, bounds)
            is_open = self._still_open(region.kind)[start:stop]
            for cluster in self._clusters[start:stop][is_open].tolist():
                self._add(cluster, [claimant])

    def _find_bitmap_data(self) -> None:
        facts = self._facts
        if not facts.image.bitmaps_valid or facts.image.bitmap_directory is None:
            return
        for start, offsets in bitmap_clusters(facts, facts.image.bitmap_directory):
            indices = facts.cluster_indices(offsets)
            for cluster, _ in self._groups("bitmap_data", indices, np.zeros_like(indices)):
                self._add(cluster, [Claimant("bitmap_data", start)])

    def _find_blocks(self) -> None:
        facts = self._facts
        start = facts.image.header.refcount_table_offset
        inside = np.flatnonzero(facts.claimed_blocks)
        indices = facts.cluster_indices(facts.stored.offsets[inside])
        for cluster, groups in self._groups("refcount_block", indices, inside):
            places = (start + 8 * int(inside[group[0]]) for group in groups)
            self._add(cluster, (Claimant("refcount_block", place) for place in places))

    def _find_l2_tables(self) -> None:
        facts, tables = self._facts, self._facts.tables
        inside = np.flatnonzero(tables.offset < facts.space.end)
        crooked = inside[tables.misread[inside]]
        crooked = crooked[tables.offset[crooked] & (facts.space.cluster_size - 1) != 0]
        # A table that is not aligned lies in two clusters.
        for chosen, step in ((inside, 0), (crooked, 1)):
            indices = (tables.offset[chosen] >> facts.space.cluster_bits) + step
            for cluster, groups in self._groups("l2", indices, chosen):
                tables_here = (int(chosen[group[0]]) for group in groups)
                claims = (self._table_claims(table) for table in tables_here)
                self._add(cluster, itertools.chain.from_iterable(claims))

    def _table_claims(self, table: int) -> list[Claimant]:
        """One claim for each L1 index that leads to a table."""
        if table not in self._by_table:
            if len(self._by_table) == _REMEMBERED_TABLES:
                self._by_table.clear()
            self._by_table[table] = list(self._make_table_claims(table))
        return self._by_table[table]

    def _make_table_claims(self, table: int) -> Iterator[Claimant]:
        slots, tables = self._facts.slots, self._facts.tables
        positions = tables.slots_of(table)
        if int(tables.own[table]) == int(tables.weight[table]):
            yield self._table_claim(positions)
            return
        positions = positions[np.argsort(slots.l1_index[positions], kind="stable")]
        indices = slots.l1_index[positions]
        cuts = np.flatnonzero(indices[1:] != indices[:-1])[: self._most] + 1
        bounds = [0, *cuts.tolist(), len(positions)]
        for start, end in itertools.islice(itertools.pairwise(bounds), self._most + 1):
            yield self._table_claim(positions[start:end])

    def _table_claim(self, positions: NDArray[np.int64]) -> Claimant:
        """The claim of some L1 slots of one index."""
        slots = self._facts.slots
        index, place = int(slots.l1_index[positions[0]]), int(slots.place[positions[0]])
        labels, total = self._facts.trees_of_slots(positions)
        guest = index * self._facts.image.geometry.l1_span
        return Claimant("l2", place, guest, index, None, labels, total)

    def _find_data(self, batch: L2Batch) -> None:
        facts = self._facts
        offsets = arrays.l2_offsets(batch.entries)
        near = offsets - self._lowest < self._reach
        may_compress = np.bitwise_or.reduce(batch.entries, axis=None) & _COMPRESSED
        if not may_compress and not near.any():
            return
        compressed = (batch.entries & _COMPRESSED) != 0
        plain = near & ~compressed & (offsets != 0) & (offsets < np.uint64(facts.space.end))
        flat = np.flatnonzero(plain.reshape(-1))
        held = offsets.reshape(-1)[flat]
        first = facts.cluster_indices(held)
        self._note(batch, "data", flat, first)
        crooked = (held & np.uint64(facts.space.cluster_size - 1)) != 0
        if crooked.any():
            self._note(batch, "data", flat[crooked], first[crooked] + 1)
        if compressed.any():
            self._find_compressed(batch, compressed)

    def _find_compressed(self, batch: L2Batch, compressed: NDArray[np.bool_]) -> None:
        facts = self._facts
        flat = np.flatnonzero(compressed.reshape(-1))
        raw = np.ascontiguousarray(batch.entries).reshape(-1)[flat]
        offsets, lengths = arrays.compressed_extents(raw, facts.space.cluster_bits)
        inside = offsets + lengths < np.uint64(facts.space.end + facts.space.cluster_size)
        flat, offsets, lengths = flat[inside], offsets[inside], lengths[inside]
        first = facts.cluster_indices(offsets)
        last = facts.cluster_indices(offsets + lengths - np.uint64(1))
        for step in range(3):
            touched = first + step <= last
            self._note(batch, "compressed", flat[touched], first[touched] + step)

    def _note(
        self, batch: L2Batch, kind: str, flat: NDArray[np.int64], clusters: NDArray[np.int64]
    ) -> None:
        """Add the entries at flat positions of a batch that claim a wanted cluster."""
        # Nearly always none or few of them do.
        wanted = np.flatnonzero(self._is_wanted(clusters))
        if not len(wanted):
            return
        flat, clusters = flat[wanted], clusters[wanted]
        row, column = np.divmod(flat, batch.entries.shape[1])
        guest = self._facts.tables.l1_index[batch.tables[row]]
        guest = guest * self._facts.image.geometry.l2_entries + batch.first + column
        for cluster, groups in self._groups(kind, clusters, guest):
            owners = (self._owners(batch, kind, flat[group]) for group in groups)
            self._add(cluster, itertools.chain.from_iterable(owners))

    def _owners(self, batch: L2Batch, kind: str, flat: NDArray[np.int64]) -> Iterator[Claimant]:
        """The owners of a cluster that several tables, in one column, map alike."""
        facts, tables = self._facts, self._facts.tables
        geometry = facts.image.geometry
        rows, columns = np.divmod(flat, batch.entries.shape[1])
        chosen, l2_index = batch.tables[rows], batch.first + int(columns[0])
        is_single = tables.own[chosen] == tables.weight[chosen]
        single = chosen[is_single]
        if len(single):
            place = int(tables.offset[single[0]]) + l2_index * geometry.l2_entry_size
            l1_index = int(tables.l1_index[single[0]])
            guest = geometry.guest_offset(l1_index, l2_index)
            labels, total = facts.trees_of_tables(single)
            yield Claimant(kind, place, guest, l1_index, l2_index, labels, total)
        # A table that serves several guest ranges claims the cluster for each of them.
        for table in chosen[~is_single].tolist():
            place = int(tables.offset[table]) + l2_index * geometry.l2_entry_size
            for owner in self._table_claims(table):
                guest = geometry.guest_offset(owner.l1_index or 0, l2_index)
                yield replace(owner, kind=kind, offset=place, guest_offset=guest, l2_index=l2_index)
