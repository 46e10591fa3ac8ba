"""Who claims some host clusters: a second walk, made only when there is something to name."""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from qcow2_dump.checks.bitset import BitSet
from qcow2_dump.checks.facts import LISTED_TREES, CheckFacts
from qcow2_dump.checks.findings import Claimant
from qcow2_dump.checks.l2_tables import L2Batch, read_l2_batches
from qcow2_dump.checks.pass_bitmaps import bitmap_clusters
from qcow2_dump.ondisk import arrays
from qcow2_dump.ondisk.mapping import EntryFlag

__all__ = ["GUEST_KINDS", "MOST_CLAIMANTS", "ClaimantFinder", "Claims"]

GUEST_KINDS = frozenset({"data", "compressed"})
"""Claims by guest data, as opposed to metadata."""

MOST_CLAIMANTS = 1024
"""How many owners of one cluster are told apart; a hostile image can name millions."""

# Tables whose owners are worked out once although many of their entries ask for them.
_REMEMBERED_TABLES = 64

_COMPRESSED = np.uint64(int(EntryFlag.COMPRESSED))


@dataclass(slots=True)
class Claims:
    """The owners of one cluster: equal claims of several trees are one owner."""

    owners: dict[tuple[str, int], Claimant] = field(default_factory=dict)
    more: int = 0

    @property
    def total(self) -> int:
        """How many owners there are."""
        return len(self.owners) + self.more

    @property
    def full(self) -> bool:
        """Whether further owners are only counted."""
        return len(self.owners) >= MOST_CLAIMANTS

    def add(self, claimant: Claimant) -> None:
        """Add an owner, or more trees to one that is known."""
        guest = claimant.guest_offset
        key = (claimant.kind, claimant.offset if guest is None else guest)
        known = self.owners.get(key)
        if known is not None:
            trees = tuple(dict.fromkeys(known.trees + claimant.trees))[:LISTED_TREES]
            total = known.trees_total + claimant.trees_total
            self.owners[key] = replace(known, trees=trees, trees_total=total)
        elif not self.full:
            self.owners[key] = claimant
        else:
            self.more += 1


class ClaimantFinder:
    """Names the owners of the clusters that it is given (int64, ascending)."""

    def __init__(self, facts: CheckFacts, clusters: NDArray[np.int64]) -> None:
        self._facts = facts
        self._clusters = clusters
        self._wanted = BitSet(facts.references.size)
        self._wanted.add(clusters)
        self.claims: dict[int, Claims] = {int(cluster): Claims() for cluster in clusters}
        self._by_table: dict[int, list[tuple[int, Claimant]]] = {}

    def find(self) -> Iterator[int]:
        """Walk everything that claims clusters. Yields the bytes of L2 tables read so far."""
        self._find_regions()
        self._find_blocks()
        self._find_l2_tables()
        facts, done = self._facts, 0
        geometry = facts.image.geometry
        if facts.image.header.has_data_file:
            return
        for batch in read_l2_batches(facts.image.source, geometry, facts.tables):
            self._find_data(batch)
            done += batch.entries.size * geometry.l2_entry_size
            yield done

    def _add(self, cluster: int, claimant: Claimant) -> None:
        self.claims[cluster].add(claimant)

    def _between(self, first: int, end: int) -> list[int]:
        start, stop = np.searchsorted(self._clusters, [first, end])
        found: list[int] = self._clusters[start:stop].tolist()
        return found

    def _find_regions(self) -> None:
        facts = self._facts
        for region in facts.regions:
            if facts.space.is_beyond(region.offset, region.length):
                continue
            trees = () if region.tree is None else (region.tree,)
            # Two snapshots with one L1 table are two owners: the pointer tells them apart.
            place = region.place if region.tree is not None else region.offset
            for cluster in self._between(*facts.space.span(region.offset, region.length)):
                claimant = Claimant(region.kind, place, trees=trees, trees_total=len(trees))
                self._add(cluster, claimant)
        if facts.image.bitmaps_valid and facts.image.bitmap_directory is not None:
            for start, offsets in bitmap_clusters(
                facts, facts.image.bitmap_directory, report=False
            ):
                indices = facts.cluster_indices(offsets)
                for cluster in indices[self._wanted.contains(indices)].tolist():
                    self._add(cluster, Claimant("bitmap_data", start))

    def _find_blocks(self) -> None:
        facts = self._facts
        start = facts.image.header.refcount_table_offset
        inside = np.flatnonzero(facts.claimed_blocks)
        indices = facts.cluster_indices(facts.stored.offsets[inside])
        for at in np.flatnonzero(self._wanted.contains(indices)).tolist():
            place = start + 8 * int(inside[at])
            self._add(int(indices[at]), Claimant("refcount_block", place))

    def _find_l2_tables(self) -> None:
        facts, tables = self._facts, self._facts.tables
        inside = np.flatnonzero(tables.offset < facts.space.end)
        crooked = inside[tables.misread[inside]]
        crooked = crooked[tables.offset[crooked] & (facts.space.cluster_size - 1) != 0]
        # A table that is not aligned lies in two clusters.
        for chosen, step in ((inside, 0), (crooked, 1)):
            indices = (tables.offset[chosen] >> facts.space.cluster_bits) + step
            for at in np.flatnonzero(self._wanted.contains(indices)).tolist():
                for _, claimant in self._table_claims(int(chosen[at])):
                    self._add(int(indices[at]), claimant)

    def _table_claims(self, table: int) -> list[tuple[int, Claimant]]:
        """One claim for each L1 index that leads to a table, with that index."""
        if table not in self._by_table:
            if len(self._by_table) == _REMEMBERED_TABLES:
                self._by_table.clear()
            self._by_table[table] = list(self._make_table_claims(table))
        return self._by_table[table]

    def _make_table_claims(self, table: int) -> Iterator[tuple[int, Claimant]]:
        facts = self._facts
        slots = facts.slots
        positions = facts.tables.slots_of(table)
        positions = positions[np.argsort(slots.l1_index[positions], kind="stable")]
        indices, first = np.unique(slots.l1_index[positions], return_index=True)
        ends = np.append(first[1:], len(positions))
        several = zip(indices.tolist(), first.tolist(), ends.tolist(), strict=True)
        for index, start, end in itertools.islice(several, MOST_CLAIMANTS):
            same = positions[start:end]
            labels, _ = facts.trees_of_slots(same[:LISTED_TREES].tolist())
            total = int(slots.weight[same].sum())
            guest = index * facts.image.geometry.l1_span
            place = int(slots.place[same[0]])
            yield index, Claimant("l2", place, guest, index, None, labels, total)

    def _find_data(self, batch: L2Batch) -> None:
        facts = self._facts
        compressed = (batch.entries & _COMPRESSED) != 0
        offsets = arrays.l2_offsets(batch.entries)
        plain = ~compressed & (offsets != 0) & (offsets < np.uint64(facts.space.end))
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
        hits = np.flatnonzero(self._wanted.contains(clusters))
        if not len(hits):
            return
        hits = hits[np.argsort(clusters[hits], kind="stable")]
        wanted, start, number = np.unique(clusters[hits], return_index=True, return_counts=True)
        for cluster, at, times in zip(
            wanted.tolist(), start.tolist(), number.tolist(), strict=True
        ):
            listed = hits[at : at + min(times, MOST_CLAIMANTS)]
            for position in flat[listed].tolist():
                self._note_entry(batch, kind, position, cluster)
            self.claims[cluster].more += times - len(listed)

    def _note_entry(self, batch: L2Batch, kind: str, position: int, cluster: int) -> None:
        facts, tables = self._facts, self._facts.tables
        geometry = facts.image.geometry
        row, column = divmod(position, batch.entries.shape[1])
        table, l2_index = int(batch.tables[row]), batch.first + column
        place = int(tables.offset[table]) + l2_index * geometry.l2_entry_size
        if int(tables.own[table]) == int(tables.weight[table]):
            labels, total = facts.trees_of_table(table)
            l1_index = int(tables.l1_index[table])
            guest = geometry.guest_offset(l1_index, l2_index)
            self._add(cluster, Claimant(kind, place, guest, l1_index, l2_index, labels, total))
            return
        owners = self._table_claims(table)
        if self.claims[cluster].full:
            self.claims[cluster].more += len(owners)
            return
        for l1_index, owner in owners:
            guest = geometry.guest_offset(l1_index, l2_index)
            self._add(
                cluster,
                replace(owner, kind=kind, offset=place, guest_offset=guest, l2_index=l2_index),
            )
