"""Who uses each cluster of the file: what the check counted, or else one more walk over the tables.

What is named is told as the check counts it (format sections 8.3 to 8.5), so that a cluster
without users is one without references.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from qcow2_dump.checks.facts import CheckFacts
from qcow2_dump.checks.pass_bitmaps import bitmap_clusters
from qcow2_dump.checks.space.table_groups import claims_of_groups, distinct_streams
from qcow2_dump.checks.space.tree_codes import l1_stretches, table_codes
from qcow2_dump.checks.space.uniform_data import claim_uniform_data
from qcow2_dump.checks.space.use_map import UseMap
from qcow2_dump.checks.space.users import Use, Users
from qcow2_dump.checks.tables.l2_batches import L2Batch, read_l2_batches
from qcow2_dump.ondisk import arrays
from qcow2_dump.ondisk.mapping import EntryFlag

__all__ = ["Gathering"]

_REGIONS = {
    "header": Use.HEADER,
    "snapshot_table": Use.SNAPSHOT_TABLE,
    "refcount_table": Use.REFCOUNT_TABLE,
    "luks": Use.LUKS,
    "bitmap_directory": Use.BITMAPS,
    "bitmap_table": Use.BITMAPS,
}

_COMPRESSED = np.uint64(int(EntryFlag.COMPRESSED))
# Inverting the flag itself would drop the bits of the trees.
_NO_STATE, _L1 = ~int(Use.VM_STATE), int(Use.L1)
_SECTOR_BITS = np.uint64(9)


class Gathering:
    """Finds the users of all clusters; ``uses`` and ``payload`` are there when it has run.

    ``payload`` is what compressed streams take, in bytes: whole sectors, each counted for the
    stream that it begins in.
    """

    def __init__(self, facts: CheckFacts) -> None:
        self._facts = facts
        self._users = Users(len(facts.trees))
        self.uses = UseMap(facts.references.size, self._users)
        self.payload = 0
        trees = table_codes(facts, self._users)
        self._tables = self._with_use(trees, Use.L2)
        self._data = self._with_use(trees, Use.DATA)
        self._streams = self._with_use(trees, Use.COMPRESSED)

    def run(self) -> Iterator[int]:
        """Look at all that names clusters. Yields the bytes of L2 tables read so far.

        The check of the image must have run. Raises SourceError when a table cannot be read.
        """
        self._claim_regions()
        self._claim_blocks()
        self._claim_tables()
        facts, done = self._facts, 0
        geometry = facts.image.geometry
        if facts.image.header.has_data_file or claim_uniform_data(facts, self.uses, self._data):
            return
        for batch in read_l2_batches(facts.image.source, geometry, facts.tables):
            self._take(batch)
            done += batch.entries.size * geometry.l2_entry_size
            yield done

    def _with_use(self, codes: NDArray[np.int64], use: Use) -> NDArray[np.int64]:
        return self._users.join(codes, np.full_like(codes, self._users.code(use)))

    def _claim_regions(self) -> None:
        facts, users = self._facts, self._users
        for region in facts.regions:
            use = _REGIONS.get(region.kind)
            if use is not None and not facts.space.is_beyond(region.offset, region.length):
                first, end = facts.space.span(region.offset, region.length)
                self.uses.claim_range(first, end, users.code(use))
        for start, behind, mask in l1_stretches(facts):
            first, end = facts.space.span(start, behind - start)
            self.uses.claim_range(first, end, users.code(mask & _NO_STATE | _L1))
        directory = facts.image.bitmap_directory if facts.image.bitmaps_valid else None
        if directory is not None:
            for _, offsets in bitmap_clusters(facts, directory):
                self.uses.claim(facts.cluster_indices(offsets), users.code(Use.BITMAPS))

    def _claim_blocks(self) -> None:
        facts = self._facts
        chosen = np.flatnonzero(facts.claimed_blocks)
        indices = facts.cluster_indices(facts.stored.offsets[chosen])
        self.uses.claim(indices, self._users.code(Use.REFCOUNT_BLOCK))

    def _claim_tables(self) -> None:
        tables, space = self._facts.tables, self._facts.space
        inside = np.flatnonzero(tables.offset < space.end)
        indices, codes = tables.offset[inside] >> space.cluster_bits, self._tables[inside]
        self.uses.claim_each(indices, codes)
        # A table that is not aligned lies in two clusters.
        second = tables.offset[inside] & (space.cluster_size - 1) != 0
        self.uses.claim_each(indices[second] + 1, codes[second])

    def _take(self, batch: L2Batch) -> None:
        """Claim what some tables map."""
        space = self._facts.space
        bits = np.bitwise_or.reduce(batch.entries, axis=None)
        offsets = arrays.l2_offsets(batch.entries)
        if bits & _COMPRESSED:
            packed = (batch.entries & _COMPRESSED) != 0
            offsets[packed] = 0
            if batch.bitmaps is not None:
                packed &= batch.bitmaps == 0  # others are not counted: no stream has a bitmap
            self._claim_streams(batch, packed)
        if int(offsets.max(initial=0)) >= space.end:
            offsets[offsets >= np.uint64(space.end)] = 0
        self._claim(batch, offsets)
        unaligned = np.uint64(space.cluster_size - 1)
        if bits & unaligned:
            offsets[(offsets & unaligned) == 0] = 0
            offsets[offsets != 0] += np.uint64(space.cluster_size)
            self._claim(batch, offsets)

    def _claim(self, batch: L2Batch, offsets: NDArray[np.uint64]) -> None:
        """Claim one cluster for each offset (uint64[rows, columns]) that is not 0."""
        codes = self._data[batch.tables]
        if batch.members == 1 and codes.min() == codes.max():
            held = offsets.reshape(-1)
            held = held if held.all() else held[held != 0]
            self.uses.claim(self._facts.cluster_indices(held), int(codes[0]))
            return
        held, codes = claims_of_groups(offsets, codes, batch.members, self._users)
        indices = self._facts.cluster_indices(held)
        if len(codes) and codes.min() == codes.max():
            self.uses.claim(indices, int(codes[0]))
        else:
            self.uses.claim_each(indices, codes)

    def _claim_streams(self, batch: L2Batch, packed: NDArray[np.bool_]) -> None:
        facts, space = self._facts, self._facts.space
        row, column = np.nonzero(packed)
        raw = batch.entries[row, column]
        starts, lengths = arrays.compressed_extents(raw, space.cluster_bits)
        inside = starts + lengths < np.uint64(space.end + space.cluster_size)
        starts, ends, row = starts[inside], (starts + lengths)[inside], row[inside]
        if not len(starts):
            return
        codes = self._streams[batch.tables[row]]
        first = facts.cluster_indices(starts)
        last = facts.cluster_indices(ends - np.uint64(1))
        for step in range(int((last - first).max()) + 1):
            touched = first + step <= last
            self.uses.claim_each(first[touched] + step, codes[touched])
        self._count_payload(distinct_streams(batch, packed))

    def _count_payload(self, raw: NDArray[np.uint64]) -> None:
        """Add the sectors of some streams, of which each is given once."""
        space = self._facts.space
        starts, lengths = arrays.compressed_extents(raw, space.cluster_bits)
        ends = starts + lengths
        inside = ends < np.uint64(space.end + space.cluster_size)
        starts, ends = starts[inside], np.minimum(ends[inside], np.uint64(space.end))
        first = (starts + np.uint64(511)) >> _SECTOR_BITS
        behind = np.maximum(ends >> _SECTOR_BITS, first)
        self.payload += int((behind - first).sum()) << 9
