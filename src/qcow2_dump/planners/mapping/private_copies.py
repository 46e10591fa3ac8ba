"""Clusters with several owners copied apart: `repair --reuse` (repair rules, section 3).

What the guest reads does not change; from then on a write to one range is a write to that range
only. An L2 table that lies where another structure does is copied with its entries set right; one
that several L1 indices lead to once for each of them, so that at no moment two of them have the
same entries, some of them changed. In all other tables entries are changed in place.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qcow2_dump.checks.facts import CheckFacts
from qcow2_dump.checks.tables.l2_batches import L2Batch, read_l2_batches
from qcow2_dump.errors import UnsafePlanError
from qcow2_dump.ondisk import arrays
from qcow2_dump.ondisk.constants import CryptMethod
from qcow2_dump.ondisk.mapping import L1_OFFSET_MASK, EntryFlag
from qcow2_dump.plan.model import Field
from qcow2_dump.planners.allocator import Allocator
from qcow2_dump.planners.checked import Checked
from qcow2_dump.planners.draft import Draft, Stage
from qcow2_dump.planners.fields.bitmaps import mark_bitmaps_in_use
from qcow2_dump.planners.mapping.changes import L2Rows, put_l1, put_l2
from qcow2_dump.planners.mapping.copying import Copier
from qcow2_dump.planners.mapping.keepers import (
    GuestClaims,
    Keepers,
    TableUses,
    find_keepers,
    guest_claims,
    stream_clusters,
    table_uses,
)

__all__ = ["refuse_bound_data", "separate_owners"]

_I64 = NDArray[np.int64]
_U64 = NDArray[np.uint64]
_Mask = NDArray[np.bool_]

_COPIED = np.uint64(int(EntryFlag.COPIED))
_COMPRESSED = np.uint64(int(EntryFlag.COMPRESSED))
_ZERO = np.uint64(int(EntryFlag.ZERO))
_OFFSET = np.uint64(L1_OFFSET_MASK)
_NOTHING = np.uint64(0)


def refuse_bound_data(found: Checked) -> None:
    """Raise UnsafePlanError for shared clusters whose content depends on their place (LUKS)."""
    if found.has("cluster.shared") and found.image.header.crypt_method == CryptMethod.LUKS:
        raise UnsafePlanError(
            "the image is encrypted with LUKS, whose key stream depends on where a cluster lies: "
            "a copy of a shared cluster could not be read"
        )


def separate_owners(draft: Draft, found: Checked, allocator: Allocator) -> list[str]:
    """Give every owner of a shared cluster but one a copy of its own.

    The draft must not hold changes of entries yet. Returns sentences about what is copied. Raises
    UnsafePlanError where there is no room, SourceError when something cannot be read.
    """
    if not found.has("cluster.shared") or found.image.header.has_data_file:
        return []
    separator = _Separator(draft, found.facts, Copier(draft, found.facts, allocator))
    separator.separate()
    if not draft.is_empty:
        mark_bitmaps_in_use(draft, found)
    return list(separator.notes())


@dataclass(slots=True)
class _Changed:
    """Some rows of a batch with other entries, being worked on."""

    rows: L2Rows
    entries: _U64


class _Separator:
    def __init__(self, draft: Draft, facts: CheckFacts, copier: Copier) -> None:
        self._draft = draft
        self._facts = facts
        self._copier = copier
        self._uses: TableUses = table_uses(facts)
        self._keepers: Keepers = find_keepers(facts, self._uses)
        # Where tables may be written to: guest data that lies there as well moves away.
        slots = facts.slots
        homes = slots.place >> facts.space.cluster_bits
        self._slots = ~facts.references.shared.contains(homes)
        self._slots |= self._structures(homes) == slots.weight
        clusters = self._uses.tables.offset >> facts.space.cluster_bits
        times = np.bincount(self._uses.table, minlength=len(facts.tables))[self._uses.table]
        self._lone = times == 1
        self._in_place = (self._structures(clusters) == 0) & self._lone
        self._copies = np.full(len(self._uses.table), -1, dtype=np.int64)
        self._zeros = 0

    def separate(self) -> None:
        """Draft all copies, then the entries that lead to them."""
        facts = self._facts
        moving = np.flatnonzero(self._moving_tables())
        for use, offset in zip(moving.tolist(), self._copier.room(len(moving)), strict=True):
            self._copies[use] = offset
        for batch in read_l2_batches(facts.image.source, facts.image.geometry, self._uses.tables):
            self._separate(batch)
        self._switch_l1()

    def notes(self) -> Iterator[str]:
        """What is copied, in sentences."""
        size = self._facts.space.cluster_size
        tables = int(np.count_nonzero(self._copies >= 0))
        parts = []
        if self._copier.clusters:
            ranges = self._copier.ranges
            parts.append(
                f"{self._copier.clusters:,} cluster{'s' * (self._copier.clusters > 1)} of "
                f"{size:,} bytes in {ranges:,} range{'s' * (ranges > 1)}"
            )
        if tables:
            parts.append(f"{tables:,} L2 table{'s' * (tables > 1)}")
        if parts:
            yield f"Copied, so that each owner has its own: {' and '.join(parts)}."
        if self._zeros:
            one = self._zeros == 1
            yield (
                f"{self._zeros:,} range{'' if one else 's'} that read{'s' if one else ''} as "
                f"zeros give{'s' if one else ''} up a cluster that somebody else uses, and "
                f"read{'s' if one else ''} as zeros still."
            )

    def _structures(self, clusters: _I64) -> _I64:
        """How many structures with one place only lie in each of some clusters: int64[n].

        0 as well for clusters that are no suspects.
        """
        found = np.zeros(len(clusters), dtype=np.int64)
        suspect = self._facts.references.shared.contains(clusters)
        found[suspect] = self._keepers.fixed[self._keepers.places(clusters[suspect])]
        return found

    def _moving_tables(self) -> _Mask:
        """Which uses of tables get a copy of the table: bool[uses]."""
        uses, shared = self._uses, self._facts.references.shared
        clusters = uses.tables.offset >> self._facts.space.cluster_bits
        moving = shared.contains(clusters)
        moving &= (self._structures(clusters) != 0) | ~self._lone
        # Every L1 entry that leads there must be one that can be changed.
        held = uses.of_slot[~self._slots]
        moving[held[held >= 0]] = False
        return moving

    def _separate(self, batch: L2Batch) -> None:
        copied = self._copies[batch.tables] >= 0
        in_place = self._in_place[batch.tables] & ~copied
        old = L2Rows.of(batch, np.arange(len(batch.tables)))
        new = _Changed(old, old.entries.copy())
        able = copied | in_place
        self._move_data(batch, new, able)
        self._move_streams(batch, new, able)
        self._put_in_place(batch, new, np.flatnonzero(in_place))
        self._put_copies(batch, new, np.flatnonzero(copied))

    def _move_data(self, batch: L2Batch, new: _Changed, able: _Mask) -> None:
        claims = guest_claims(self._facts, self._uses, batch)
        claims = claims.among(able[claims.row])
        claims = claims.among(self._keepers.leaves(claims))
        zero = claims.among(claims.zero)
        plain = _ZERO if batch.bitmaps is None else _NOTHING
        new.entries[zero.row, zero.column] = plain
        self._zeros += len(zero.row)
        data = claims.among(~claims.zero)
        if len(data.row):
            offsets = self._copy(data)
            raw = new.entries[data.row, data.column] & ~(_OFFSET | _COPIED)
            new.entries[data.row, data.column] = raw | offsets

    def _copy(self, claims: GuestClaims) -> _U64:
        """Copy the clusters of some claims, once for each guest address: host offsets."""
        order = np.lexsort((claims.guest, claims.cluster))
        cluster, guest = claims.cluster[order], claims.guest[order]
        fresh = np.ones(len(order), dtype=np.bool_)
        fresh[1:] = (cluster[1:] != cluster[:-1]) | (guest[1:] != guest[:-1])
        copies = self._copier.copy_clusters(cluster[fresh])
        offsets = np.zeros(len(order), dtype=np.uint64)
        offsets[order] = copies[np.cumsum(fresh) - 1].view(np.uint64)
        return offsets

    def _move_streams(self, batch: L2Batch, new: _Changed, able: _Mask) -> None:
        """Streams share clusters with each other only: not with metadata."""
        row, column, touched = stream_clusters(self._facts, batch)
        leaves = np.zeros(len(row), dtype=np.bool_)
        for clusters in touched:
            suspect = self._facts.references.shared.contains(clusters)
            leaves[suspect] |= self._keepers.is_metadata(clusters[suspect])
        leaves &= able[row]
        row, column = row[leaves], column[leaves]
        raw, which = np.unique(new.entries[row, column], return_inverse=True)
        moved = np.array([self._copier.copy_stream(r) for r in raw.tolist()], dtype=np.uint64)
        if len(row):
            new.entries[row, column] = moved[which]

    def _put_in_place(self, batch: L2Batch, new: _Changed, rows: _I64) -> None:
        table = self._uses.table[batch.tables[rows]]
        bitmaps = None if new.rows.bitmaps is None else new.rows.bitmaps[rows]
        before = L2Rows(table, batch.first, new.rows.entries[rows], bitmaps)
        after = L2Rows(table, batch.first, new.entries[rows], bitmaps)
        put_l2(self._draft, self._facts, before, after, "reuse.entry")

    def _put_copies(self, batch: L2Batch, new: _Changed, rows: _I64) -> None:
        geometry = self._facts.image.geometry
        # Set again where it is right, once everything is in its place.
        plain = (new.entries & _COMPRESSED) == _NOTHING
        entries = np.where(plain, new.entries & ~_COPIED, new.entries)
        words = L2Rows(new.rows.tables, batch.first, entries, new.rows.bitmaps).words()
        for row in rows.tolist():
            use = int(batch.tables[row])
            start = int(self._copies[use])
            guest = geometry.guest_offset(int(self._uses.tables.l1_index[use]), batch.first)
            width = geometry.l2_entry_size
            field = Field("l2", start, 8 * width, batch.first, guest, geometry.cluster_size)
            content = arrays.encode_u64(words[row].reshape(-1))
            offset = start + batch.first * width
            self._draft.put(Stage.NEW, offset, content, field, "reuse.table")

    def _switch_l1(self) -> None:
        chosen = np.flatnonzero(self._uses.of_slot >= 0)
        copy = self._copies[self._uses.of_slot[chosen]]
        chosen, copy = chosen[copy >= 0], copy[copy >= 0]
        raw = self._facts.slots.raw[chosen] & ~(_OFFSET | _COPIED)
        put_l1(
            self._draft,
            self._facts,
            chosen,
            raw | copy.view(np.uint64),
            "reuse.l1-entry",
        )
