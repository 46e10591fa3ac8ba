"""Entry by entry through an L2 table that holds something out of the ordinary (section 8.4).

Judges entries of every type, counts the claims that are not one whole aligned cluster inside the
file, and leaves the rest to the walk in `pass_l2`.
"""

import numpy as np
from numpy.typing import NDArray

from qcow2_dump.checks.entry_classes import EntryState, count_states, l2_faults, l2_states
from qcow2_dump.checks.facts import CheckFacts
from qcow2_dump.checks.findings import FindingLog
from qcow2_dump.checks.l2_places import TablePlace
from qcow2_dump.checks.l2_tables import L2Batch
from qcow2_dump.ondisk import arrays
from qcow2_dump.ondisk.mapping import L2_RESERVED_MASK, ClusterType, EntryFlag

__all__ = ["OddTable"]

_COPIED = np.uint64(int(EntryFlag.COPIED))
_ZERO = np.uint64(int(EntryFlag.ZERO))
_LOW_HALF = np.uint64(0xFFFF_FFFF)

_Mask = NDArray[np.bool_]


class OddTable:
    """One row of a batch, judged entry by entry."""

    def __init__(self, facts: CheckFacts, batch: L2Batch, row: int) -> None:
        self._facts = facts
        self._table = int(batch.tables[row])
        self._first = batch.first
        self._raw = np.ascontiguousarray(batch.entries[row])
        self._bitmaps = None if batch.bitmaps is None else batch.bitmaps[row]
        self._place = TablePlace(facts, self._table, batch.first, self._raw)
        # What QEMU takes for a table although it is none is counted, but not told in detail.
        self._misread = bool(facts.tables.misread[self._table])
        self._log = FindingLog(limit=0) if self._misread else facts.log
        header = facts.image.header
        self._data_file = header.has_data_file
        self._types = arrays.cluster_types(
            self._raw, extended_l2=header.extended_l2, data_file=self._data_file
        )
        self._offsets = arrays.l2_offsets(self._raw)
        self._states = l2_states(self._raw, self._types, header, facts.space)
        self._faults = l2_faults(self._raw, self._types, self._bitmaps, header)

    def examine(self, mapped: NDArray[np.uint64], plain: NDArray[np.uint64]) -> None:
        """Judge the table and count its unusual claims.

        Leaves in ``mapped`` the host offsets of normal and preallocated entries, and in ``plain``
        those of them that claim one aligned cluster inside the file; 0 elsewhere (uint64).
        """
        is_mapped = (self._types == ClusterType.NORMAL) | (self._types == ClusterType.ZERO_ALLOC)
        self._check_common()
        self._check_compressed(self._types == ClusterType.COMPRESSED)
        unaligned = is_mapped & ((self._offsets & np.uint64(self._size - 1)) != 0)
        self._check_unaligned(unaligned)
        self._count_entries()
        if self._bitmaps is not None:
            self._check_subclusters()
        if self._data_file:
            self._check_data_file(is_mapped)
            mapped[:] = plain[:] = 0
        else:
            beyond = is_mapped & (self._states == EntryState.INVALID)
            self._report_beyond(beyond)
            self._claim_unaligned(unaligned & ~beyond)
            mapped[:] = np.where(is_mapped, self._offsets, np.uint64(0))
            plain[:] = np.where(is_mapped & ~unaligned & ~beyond, self._offsets, np.uint64(0))
        if self._misread:
            count = sum(tally.count for tally in self._log.tallies.values())
            message = f"at {self._place.offset:#x} QEMU reads an L2 table where there is none"
            self._place.report_table(self._facts.log, "l2.misread", message, count)

    @property
    def _size(self) -> int:
        return self._facts.space.cluster_size

    def _check_common(self) -> None:
        weight = self._place.weight
        self._place.report(
            self._log,
            "l2.reserved",
            self._faults["l2.reserved"],
            lambda raw: f"{raw:#018x} has reserved bits set",
            times=weight,
            expect=lambda raw: raw & ~L2_RESERVED_MASK,
        )
        self._place.report(
            self._log,
            "l2.copied-no-offset",
            self._faults["l2.copied-no-offset"],
            lambda raw: f"{raw:#018x} has the COPIED flag but maps nothing",
            expect=lambda raw: raw & ~int(EntryFlag.COPIED),
        )
        header = self._facts.image.header
        if header.extended_l2:
            self._place.report(
                self._log,
                "l2.bit0-extended",
                self._faults["l2.bit0-extended"],
                lambda raw: f"{raw:#018x} has bit 0 set, which means nothing with extended L2",
                expect=lambda raw: raw & ~int(EntryFlag.ZERO),
            )
        elif not header.is_v3:
            self._place.report(
                self._log,
                "l2.zero-v2",
                self._faults["l2.zero-v2"],
                lambda raw: f"{raw:#018x} has the zero flag, which version 2 does not know",
            )
        self._check_beyond_size()

    def _check_beyond_size(self) -> None:
        inside = int(self._facts.inside[self._table]) - self._first
        outside = np.zeros(len(self._raw), dtype=np.bool_)
        outside[max(0, inside) :] = True
        self._place.report(
            self._log,
            "l2.beyond-size",
            outside & (self._types != ClusterType.UNALLOCATED),
            lambda raw: f"{raw:#018x} maps something behind the end of the virtual disk",
        )

    def _check_compressed(self, compressed: _Mask) -> None:
        if not compressed.any():
            return
        place, weight = self._place, self._place.weight
        place.report(
            self._log,
            "l2.compressed-copied",
            self._faults["l2.compressed-copied"],
            lambda raw: f"{raw:#018x} is compressed and yet has the COPIED flag",
            times=weight,
        )
        if self._data_file:
            place.report(
                self._log,
                "l2.compressed-data-file",
                self._faults["l2.compressed-data-file"],
                lambda raw: f"{raw:#018x} is compressed, which a data file cannot hold",
                times=weight,
            )
            return
        if self._bitmaps is not None:
            bad = self._faults["l2.compressed-bitmap"]
            place.report(
                self._log,
                "l2.compressed-bitmap",
                bad,
                lambda raw: f"{raw:#018x} is compressed, and yet its subcluster bitmap is not 0",
                times=weight,
            )
            compressed = compressed & ~bad
        self._claim_compressed(compressed)

    def _claim_compressed(self, compressed: _Mask) -> None:
        chosen = np.flatnonzero(compressed)
        facts = self._facts
        offsets, lengths = arrays.compressed_extents(self._raw[chosen], facts.space.cluster_bits)
        ends = offsets + lengths
        beyond = ends >= np.uint64(facts.space.end + self._size)
        mask = np.zeros(len(compressed), dtype=np.bool_)
        mask[chosen[beyond]] = True
        self._report_beyond(mask)
        statistics, active = facts.statistics, self._place.active
        statistics.allocated_clusters += len(chosen) * active
        statistics.fragmented_clusters += len(chosen) * active
        statistics.compressed_clusters += len(chosen) * active
        if beyond.all():
            return
        facts.last_data = max(facts.last_data, int(offsets[~beyond].max()))
        first = facts.cluster_indices(offsets[~beyond])
        last = facts.cluster_indices(ends[~beyond] - np.uint64(1))
        for step in range(int((last - first).max()) + 1):
            touched = first + step
            facts.references.claim_compressed(touched[touched <= last], self._place.weight)

    def _check_unaligned(self, unaligned: _Mask) -> None:
        if self._bitmaps is None:
            without_data = (self._raw & _ZERO) != 0
        else:
            without_data = (self._bitmaps & _LOW_HALF) == 0
        self._place.report(
            self._log,
            "l2.unaligned",
            unaligned & ~without_data,
            lambda raw: f"{raw:#018x} maps an unaligned host offset",
            times=self._place.weight,
        )
        self._place.report(
            self._log,
            "l2.unaligned-zero",
            unaligned & without_data,
            lambda raw: f"{raw:#018x} has an unaligned host offset, but holds no data",
            times=self._place.weight,
            expect=lambda _: int(EntryFlag.ZERO),
        )

    def _check_subclusters(self) -> None:
        self._place.report(
            self._log,
            "l2.subclusters",
            self._faults["l2.subclusters"],
            lambda raw: f"{raw:#018x} has subclusters that are both allocated and zero",
            times=self._place.weight,
        )
        self._place.report(
            self._log,
            "l2.subclusters-unallocated",
            self._faults["l2.subclusters-unallocated"],
            lambda raw: f"{raw:#018x} maps nothing, and yet has allocated subclusters",
            times=self._place.weight,
        )

    def _check_data_file(self, is_mapped: _Mask) -> None:
        """Guest data in another file: nothing is counted, offsets must equal guest offsets."""
        place, tables = self._place, self._facts.tables
        start = self._facts.image.geometry.guest_offset(place.l1_index, self._first)
        guest = np.arange(len(self._raw), dtype=np.uint64) * np.uint64(self._size)
        guest += np.uint64(start)
        place.report(
            self._log,
            "l2.data-file-offset",
            is_mapped & (self._offsets != guest),
            lambda raw: f"{raw:#018x} maps an offset of the data file that is not its own",
        )
        place.report(
            self._log,
            "l2.copied",
            is_mapped & ((self._raw & _COPIED) == 0),
            lambda raw: f"{raw:#018x} lacks COPIED, which every entry into a data file has",
            times=place.active,
            expect=lambda raw: raw | int(EntryFlag.COPIED),
        )
        statistics = self._facts.statistics
        statistics.allocated_clusters += int(np.count_nonzero(is_mapped)) * place.active
        if not place.active:
            return
        held = self._offsets[is_mapped].view(np.int64)
        if len(held):
            before = int(tables.next_host[self._table])
            broken = int(np.count_nonzero(np.diff(held) != self._size))
            broken += int(before != 0 and int(held[0]) != before)
            statistics.fragmented_clusters += broken * place.active
            tables.next_host[self._table] = int(held[-1]) + self._size

    def _report_beyond(self, beyond: _Mask) -> None:
        end = self._facts.space.length
        self._place.report(
            self._log,
            "l2.beyond-end",
            beyond,
            lambda raw: f"{raw:#018x} points past the end of the file at {end:#x}",
            times=self._place.weight,
        )

    def _claim_unaligned(self, unaligned: _Mask) -> None:
        """An unaligned cluster touches two; both count."""
        first = self._facts.cluster_indices(self._offsets[unaligned])
        weight = self._place.weight
        own = int(self._facts.tables.own[self._table])
        self._facts.references.claim(first, weight, own)
        self._facts.references.claim(first + 1, weight, own)

    def _count_entries(self) -> None:
        tables, table = self._facts.tables, self._table
        counted = count_states(self._states, self._types)
        tables.unaligned[table] += counted.unaligned
        tables.invalid[table] += counted.invalid
        tables.used[table] += counted.used
        tables.compressed[table] += counted.compressed
