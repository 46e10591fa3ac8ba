"""Room for new structures (repair rules, section 2).

The end of the file is the only place that nobody can have lost anything in. It must not move
over an offset that something in the image names, though: what has never been there would look as
if it had.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from qcow2_dump.checks.facts import CheckFacts, Region
from qcow2_dump.checks.host_space import HostSpace
from qcow2_dump.checks.stretches import stretches
from qcow2_dump.checks.tables.l2_batches import read_l2_batches
from qcow2_dump.errors import UnsafePlanError
from qcow2_dump.ondisk import arrays
from qcow2_dump.ondisk.constants import MAX_HOST_CLUSTERS
from qcow2_dump.plan.spool import any_bits
from qcow2_dump.planners.checked import Checked
from qcow2_dump.planners.draft import Draft

__all__ = ["Allocator"]

# Bytes of free clusters that may be read in the search for some that hold only zeros.
_READ_BYTES = 256 << 20
# What a cluster in use begins with tells nearly always that it is not all zeros.
_START = 4096
_PIECE = 1 << 17


class Allocator:
    """Gives out host clusters that nothing uses.

    ``can_grow`` is False for a device. ``replaces_blocks`` says that refcount blocks which lie
    past the end are going to be given up, so that they need not be minded. Where ``found`` is the
    draft, ``before`` is the image as it was: entries that the draft changes still lead where they
    did when new structures are written.
    """

    def __init__(
        self,
        draft: Draft,
        found: Checked,
        *,
        can_grow: bool,
        replaces_blocks: bool = False,
        before: Checked | None = None,
    ) -> None:
        self._draft = draft
        self._found = found
        self._before = found if before is None else before
        self.can_grow = can_grow
        self._replaces_blocks = replaces_blocks
        self._next = found.facts.clusters
        self._limits: dict[frozenset[str], int] = {}
        self._free: Iterator[tuple[int, int]] | None = None
        self._spare = (0, 0)

    def allocate(self, clusters: int, *, without: frozenset[str] = frozenset()) -> int:
        """The host offset in bytes of so many clusters in a row, which read as zeros.

        ``without`` are the labels of snapshots that are given up or were misread: where their L1
        tables seem to be need not be minded, nor where the snapshot table seems to end. Raises
        UnsafePlanError where there is no room that is certainly nobody's.
        """
        first = self._at_end(clusters, without)
        if first is None:
            first = self._inside(clusters)
        return first << self._found.facts.space.cluster_bits

    def _at_end(self, clusters: int, without: frozenset[str]) -> int | None:
        if not self.can_grow:
            return None
        if without not in self._limits:
            self._limits[without] = self._limit(without)
        first = self._next
        if first + clusters > self._limits[without]:
            return None
        self._next = first + clusters
        self._draft.grow(self._next << self._found.facts.space.cluster_bits)
        return first

    def _limit(self, without: frozenset[str]) -> int:
        """The cluster up to which the file may grow."""
        facts, blocks = self._found.facts, not self._replaces_blocks
        limit = _table_limit(facts, blocks=blocks, without=without)
        limit = min(limit, _growth_limit(self._found, facts.space, blocks=blocks))
        if self._before is not self._found:
            limit = min(limit, _growth_limit(self._before, facts.space, blocks=blocks))
        return max(limit, facts.clusters)

    def _inside(self, clusters: int) -> int:
        """A stretch of free clusters inside of the file."""
        if self._free is None:
            self._free = _Vacancies(self._found).stretches()
        start, end = self._spare
        while end - start < clusters:
            low, high = next(self._free, (-1, -1))
            if low < 0:
                raise UnsafePlanError(
                    f"there is no room for {clusters} new cluster{'s' * (clusters > 1)}: the file "
                    "cannot grow without reaching offsets that damaged entries name, and no free "
                    "cluster inside of it is empty"
                    if self.can_grow
                    else f"there is no room for {clusters} new cluster{'s' * (clusters > 1)}: no "
                    "free cluster of the device is empty"
                )
            # What comes right behind makes a stretch longer.
            start, end = (start if low == end else low), high
        self._spare = (start + clusters, end)
        return start


def _growth_limit(found: Checked, space: HostSpace, *, blocks: bool) -> int:
    """The cluster up to which a file may grow: what lies beyond by QEMU's rule stays so."""
    limit = MAX_HOST_CLUSTERS
    if found.has("bitmap.beyond-end", "file.truncated"):
        return 0
    for offsets, lengths in _pointers(found, blocks=blocks):
        ends = offsets + lengths
        beyond = ends >= space.end + space.cluster_size
        if beyond.any():
            limit = min(limit, (int(ends[beyond].min()) >> space.cluster_bits) - 1)
        inside = ~beyond & (offsets >= space.length)
        if inside.any():
            return 0
    return limit


def _table_limit(facts: CheckFacts, *, blocks: bool, without: frozenset[str]) -> int:
    """The cluster up to which the file may grow without showing more of any table than now."""
    space = facts.space
    limit = min(MAX_HOST_CLUSTERS, 1 << (63 - space.cluster_bits))
    for region in facts.regions:
        end = region.offset + region.length
        if end <= space.length or _is_given_up(region, blocks=blocks, without=without):
            continue
        if region.offset < space.end or not space.is_beyond(region.offset, region.length):
            return facts.clusters
        limit = min(limit, region.offset >> space.cluster_bits, (end >> space.cluster_bits) - 1)
    return limit


def _is_given_up(region: Region, *, blocks: bool, without: frozenset[str]) -> bool:
    """Whether nothing will lead to a region any more once the file has grown."""
    if region.kind == "refcount_table":
        return not blocks
    return region.tree in without or (region.kind == "snapshot_table" and bool(without))


def _pointers(
    found: Checked, *, blocks: bool
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Offsets and lengths in bytes of all but `_table_limit`'s that may be far out."""
    facts = found.facts
    size = facts.space.cluster_size
    tables = facts.tables.offset
    yield tables, np.full(len(tables), size)
    if blocks:
        offsets = facts.stored.offsets
        near = offsets[offsets < np.uint64(1 << 62)].view(np.int64)
        yield near, np.full(len(near), size)
    if facts.image.header.has_data_file or not facts.tables.invalid.any():
        return
    for batch in read_l2_batches(facts.image.source, facts.image.geometry, facts.tables):
        if not facts.tables.invalid[batch.tables].any():
            continue
        raw = batch.entries.reshape(-1)
        compressed = (raw >> np.uint64(62)) & np.uint64(1) != 0
        starts, lengths = arrays.compressed_extents(raw[compressed], facts.space.cluster_bits)
        yield starts.view(np.int64), lengths.view(np.int64)
        plain = arrays.l2_offsets(raw[~compressed]).view(np.int64)
        yield plain[plain != 0], np.full(int(np.count_nonzero(plain)), size)


class _Vacancies:
    """Clusters without references and refcounts that hold only zeros, as far as a budget goes."""

    def __init__(self, found: Checked) -> None:
        self._found = found
        self._source = found.image.source
        self._bits = found.facts.space.cluster_bits
        self._unread = _READ_BYTES

    def stretches(self) -> Iterator[tuple[int, int]]:
        """All that there are, ascending: ``(first, end)``, one right behind another at times."""
        facts = self._found.facts
        # The last cluster of a device may have no end.
        for chunk in facts.stored.chunks(facts.space.length >> self._bits):
            for first in range(chunk.first, chunk.end, _PIECE):
                end = min(first + _PIECE, chunk.end)
                free = facts.references.counts[first:end] == 0
                if chunk.values is not None:
                    free &= chunk.values[first - chunk.first : end - chunk.first] == 0
                starts, ends = stretches(np.flatnonzero(free) + first)
                for run in zip(starts.tolist(), ends.tolist(), strict=True):
                    yield from self._zeros_in(*run)
                    if self._unread <= 0:
                        return

    def _zeros_in(self, first: int, end: int) -> Iterator[tuple[int, int]]:
        """The parts of a stretch of clusters that read as zeros."""
        at = first
        for low, high in self._source.data_ranges(first << self._bits, end << self._bits):
            data_first, data_end = max(at, low >> self._bits), min(end, -(-high >> self._bits))
            if data_first > at:
                yield at, data_first
            for cluster in range(data_first, data_end):
                if self._unread <= 0:
                    return
                if self._is_zero(cluster):
                    yield cluster, cluster + 1
            at = max(at, data_end)
        if at < end:
            yield at, end

    def _is_zero(self, cluster: int) -> bool:
        """Read a cluster, and no more of it than it takes."""
        offset, size = cluster << self._bits, 1 << self._bits
        start = min(_START, size)
        self._unread -= start
        if any_bits(self._source.read(offset, start)):
            return False
        self._unread -= size - start
        return not any_bits(self._source.read(offset + start, size - start))
