"""Who keeps a host cluster that several owners claim, and who has to move.

Metadata keeps what it has: first the structures that have one place only, then L2 tables. Among
guest data compressed streams come first, since any number of them may share a cluster; then the
lowest guest address that holds data there; one that only reads as zeros comes last. Of one guest
address all trees that share it are one owner.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from qcow2_dump.checks.facts import CheckFacts
from qcow2_dump.checks.pass_bitmaps import bitmap_clusters
from qcow2_dump.checks.tables.l2_batches import L2Batch, read_l2_batches
from qcow2_dump.checks.tables.l2_tables import L2Tables
from qcow2_dump.checks.tables.segments import Segments, segments_of
from qcow2_dump.ondisk import arrays
from qcow2_dump.ondisk.mapping import EntryFlag

__all__ = [
    "GuestClaims",
    "Keepers",
    "TableUses",
    "find_keepers",
    "guest_claims",
    "stream_clusters",
    "table_uses",
]

_I64 = NDArray[np.int64]
_U64 = NDArray[np.uint64]
_Mask = NDArray[np.bool_]

_COMPRESSED = np.uint64(int(EntryFlag.COMPRESSED))
_ZERO = np.uint64(int(EntryFlag.ZERO))
_LOW_HALF = np.uint64(0xFFFF_FFFF)
_NOTHING = np.uint64(0)
_NOBODY = np.iinfo(np.int64).max


@dataclass(frozen=True, slots=True)
class TableUses:
    """Each L2 table once for every L1 index that leads to it, in the order of these.

    ``tables`` has one row for each use, ready to be read; ``table`` is the position of its table
    among all (int64[uses]); ``of_slot`` the use that an L1 slot stands for, -1 for none
    (int64[slots]).
    """

    tables: L2Tables
    table: _I64
    of_slot: _I64


def table_uses(facts: CheckFacts) -> TableUses:
    """The uses of all L2 tables that are tables for certain."""
    tables, slots = facts.tables, facts.slots
    table_of_slot = tables.of_slots()
    usable = (tables.walked & ~tables.misread)[table_of_slot]
    chosen = np.flatnonzero(usable)
    chosen = chosen[np.lexsort((table_of_slot[chosen], slots.l1_index[chosen]))]
    index, table = slots.l1_index[chosen], table_of_slot[chosen]
    fresh = np.ones(len(chosen), dtype=np.bool_)
    fresh[1:] = (index[1:] != index[:-1]) | (table[1:] != table[:-1])
    of_slot = np.full(len(slots), -1, dtype=np.int64)
    of_slot[chosen] = np.cumsum(fresh) - 1
    index, table = index[fresh], table[fresh]
    ones = np.ones(len(table), dtype=np.int64)
    rows = replace(
        tables,
        offset=tables.offset[table],
        weight=ones,
        active=ones * 0,
        own=ones,
        l1_index=index,
        misread=ones == 0,
        walked=ones == 1,
        hole=tables.hole[table],
    )
    return TableUses(rows, table, of_slot)


@dataclass(frozen=True, slots=True)
class GuestClaims:
    """Entries of a batch that claim one whole cluster of the file; arrays of one length.

    ``row`` and ``column`` place them in the batch, ``cluster`` is the host cluster, ``guest`` the
    guest cluster, ``zero`` tells those that hold no data.
    """

    row: _I64
    column: _I64
    cluster: _I64
    guest: _I64
    zero: _Mask

    def among(self, chosen: _Mask) -> "GuestClaims":
        """Some of the claims."""
        return GuestClaims(
            self.row[chosen],
            self.column[chosen],
            self.cluster[chosen],
            self.guest[chosen],
            self.zero[chosen],
        )


def guest_claims(facts: CheckFacts, uses: TableUses, batch: L2Batch) -> GuestClaims:
    """The claims of suspect clusters in a batch of table uses, streams left out."""
    space, geometry = facts.space, facts.image.geometry
    offsets = arrays.l2_offsets(batch.entries)
    plain = ((batch.entries & _COMPRESSED) == _NOTHING) & (offsets != _NOTHING)
    plain &= (offsets & np.uint64(space.cluster_size - 1)) == _NOTHING
    plain &= offsets < np.uint64(space.end)
    row, column = np.nonzero(plain)
    cluster = facts.cluster_indices(offsets[row, column])
    suspect = facts.references.shared.contains(cluster)
    row, column, cluster = row[suspect], column[suspect], cluster[suspect]
    guest = uses.tables.l1_index[batch.tables[row]] * geometry.l2_entries + batch.first + column
    if batch.bitmaps is None:
        zero = (batch.entries[row, column] & _ZERO) != _NOTHING
    else:
        zero = (batch.bitmaps[row, column] & _LOW_HALF) == _NOTHING
    return GuestClaims(row, column, cluster, guest, zero)


@dataclass(frozen=True, slots=True)
class Keepers:
    """Who keeps each suspect cluster; arrays of one length, in the order of ``cluster``.

    ``fixed`` counts the structures with one place only that lie there (int64), ``table`` tells
    clusters of L2 tables, ``stream`` those of compressed streams; ``data`` and ``zero`` are the
    first guest clusters that claim one (int64).
    """

    cluster: _I64
    fixed: _I64
    table: _Mask
    stream: _Mask
    data: _I64
    zero: _I64

    def places(self, clusters: _I64) -> _I64:
        """The positions of some suspect clusters (int64)."""
        return np.searchsorted(self.cluster, clusters)

    def is_metadata(self, clusters: _I64) -> _Mask:
        """Which of some suspect clusters metadata keeps: bool[n]."""
        at = self.places(clusters)
        found: _Mask = (self.fixed[at] != 0) | self.table[at]
        return found

    def leaves(self, claims: GuestClaims) -> _Mask:
        """Which guest claims have to go elsewhere: bool[n]."""
        at = self.places(claims.cluster)
        first = np.where(self.data[at] != _NOBODY, self.data[at], self.zero[at])
        taken = self.is_metadata(claims.cluster) | self.stream[at]
        found: _Mask = taken | (claims.guest != first)
        return found


def find_keepers(facts: CheckFacts, uses: TableUses) -> Keepers:
    """Walk everything that claims a suspect cluster. Raises SourceError when it cannot be read."""
    chunks = list(facts.references.shared.chunks())
    cluster = np.concatenate(chunks or [np.zeros(0, dtype=np.int64)])
    no = np.zeros(len(cluster), dtype=np.bool_)
    nobody = np.full(len(cluster), _NOBODY)
    found = Keepers(cluster, no.astype(np.int64), no, no.copy(), nobody, nobody.copy())
    spans = _spans(facts)
    bounds = np.searchsorted(cluster, (spans.start, spans.end))
    for start, end, times in zip(*bounds.tolist(), spans.weight.tolist(), strict=True):
        found.fixed[start:end] += times
    for clusters in _single_clusters(facts):
        suspect = clusters[facts.references.shared.contains(clusters)]
        np.add.at(found.fixed, found.places(suspect), 1)
    tables = uses.tables.offset >> facts.space.cluster_bits
    found.table[found.places(tables[facts.references.shared.contains(tables)])] = True
    for batch in read_l2_batches(facts.image.source, facts.image.geometry, uses.tables):
        claims = guest_claims(facts, uses, batch)
        at = found.places(claims.cluster)
        np.minimum.at(found.data, at[~claims.zero], claims.guest[~claims.zero])
        np.minimum.at(found.zero, at[claims.zero], claims.guest[claims.zero])
        for clusters in stream_clusters(facts, batch)[2]:
            found.stream[found.places(clusters[facts.references.shared.contains(clusters)])] = True
    return found


def stream_clusters(facts: CheckFacts, batch: L2Batch) -> tuple[_I64, _I64, list[_I64]]:
    """The compressed entries of a batch: rows, columns, and the clusters that they touch.

    The third are arrays of the same length: the first cluster of each stream, the second, the
    third; the last one repeated where a stream has fewer.
    """
    compressed = (batch.entries & _COMPRESSED) != _NOTHING
    if batch.bitmaps is not None:
        compressed &= batch.bitmaps == _NOTHING
    row, column = np.nonzero(compressed)
    offsets, lengths = arrays.compressed_extents(
        batch.entries[row, column], facts.space.cluster_bits
    )
    inside = offsets + lengths < np.uint64(facts.space.end + facts.space.cluster_size)
    row, column, offsets, lengths = row[inside], column[inside], offsets[inside], lengths[inside]
    first = facts.cluster_indices(offsets)
    last = facts.cluster_indices(offsets + lengths - np.uint64(1))
    return row, column, [np.minimum(first + step, last) for step in range(3)]


def _spans(facts: CheckFacts) -> Segments:
    """The clusters of the structures outside of the tables, and how many lie in each."""
    space = facts.space
    counted = [r for r in facts.regions if not space.is_beyond(r.offset, r.length)]
    return segments_of([space.span(region.offset, region.length) for region in counted])


def _single_clusters(facts: CheckFacts) -> Iterator[_I64]:
    """The clusters of refcount blocks and of bitmap data."""
    yield facts.cluster_indices(facts.stored.offsets[facts.claimed_blocks])
    directory = facts.image.bitmap_directory if facts.image.bitmaps_valid else None
    if directory is not None:
        for _, offsets in bitmap_clusters(facts, directory):
            yield facts.cluster_indices(offsets)
