"""Entry by entry through L2 tables that hold something out of the ordinary (section 8.4).

Judges entries of every type, counts the claims that are not one whole aligned cluster inside the
file, and leaves the rest to the walk in `pass_l2`.
"""

import numpy as np
from numpy.typing import NDArray

from qcow2_dump.checks.facts import CheckFacts
from qcow2_dump.checks.mapping.entry_classes import EntryState, l2_faults, l2_states
from qcow2_dump.checks.mapping.fragments import count_fragments
from qcow2_dump.checks.mapping.l2_places import L2Places
from qcow2_dump.checks.tables.l2_batches import L2Batch
from qcow2_dump.ondisk import arrays
from qcow2_dump.ondisk.mapping import L2_RESERVED_MASK, ClusterType, EntryFlag

__all__ = ["OddTables"]

_COPIED = np.uint64(int(EntryFlag.COPIED))
_ZERO = np.uint64(int(EntryFlag.ZERO))
_LOW_HALF = np.uint64(0xFFFF_FFFF)
_NOTHING = np.uint64(0)

_Mask = NDArray[np.bool_]


class OddTables:
    """Some rows of a batch, judged entry by entry."""

    def __init__(self, facts: CheckFacts, batch: L2Batch, rows: NDArray[np.int64]) -> None:
        self._facts = facts
        self._rows = rows
        self._bitmaps = None if batch.bitmaps is None else batch.bitmaps[rows]
        self._places = L2Places(facts, batch, rows)
        self._raw = self._places.raw
        header = facts.image.header
        self._data_file = header.has_data_file
        self._types = arrays.cluster_types(
            self._raw, extended_l2=header.extended_l2, data_file=self._data_file
        )
        self._offsets = arrays.l2_offsets(self._raw)
        self._states = l2_states(self._raw, self._types, header, facts.space)
        self._faults = l2_faults(self._raw, self._types, self._bitmaps, header)

    def examine(self, mapped: NDArray[np.uint64], plain: NDArray[np.uint64]) -> None:
        """Judge the tables and count their unusual claims.

        Leaves in its rows of ``mapped`` the host offsets of normal and preallocated entries, and
        in ``plain`` those of them that claim one aligned cluster inside the file; 0 elsewhere
        (both uint64, of the whole batch).
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
            mapped[self._rows] = plain[self._rows] = _NOTHING
        else:
            beyond = is_mapped & (self._states == EntryState.INVALID)
            self._report_beyond(beyond)
            self._claim_unaligned(unaligned & ~beyond)
            inside = is_mapped & ~unaligned & ~beyond
            mapped[self._rows] = np.where(is_mapped, self._offsets, _NOTHING)
            plain[self._rows] = np.where(inside, self._offsets, _NOTHING)
        self._places.report_misread(
            np.flatnonzero(self._places.misread),
            lambda offset, _: f"at {offset:#x} QEMU reads an L2 table where there is none",
        )

    @property
    def _size(self) -> int:
        return self._facts.space.cluster_size

    def _check_common(self) -> None:
        places = self._places
        places.report(
            "l2.reserved",
            self._faults["l2.reserved"],
            lambda raw: f"{raw:#018x} has reserved bits set",
            times=places.weight,
            expect=lambda raw: raw & ~L2_RESERVED_MASK,
        )
        places.report(
            "l2.copied-no-offset",
            self._faults["l2.copied-no-offset"],
            lambda raw: f"{raw:#018x} has the COPIED flag but maps nothing",
            expect=lambda raw: raw & ~int(EntryFlag.COPIED),
        )
        header = self._facts.image.header
        if header.extended_l2:
            places.report(
                "l2.bit0-extended",
                self._faults["l2.bit0-extended"],
                lambda raw: f"{raw:#018x} has bit 0 set, which means nothing with extended L2",
                expect=lambda raw: raw & ~int(EntryFlag.ZERO),
            )
        elif not header.is_v3:
            places.report(
                "l2.zero-v2",
                self._faults["l2.zero-v2"],
                lambda raw: f"{raw:#018x} has the zero flag, which version 2 does not know",
            )
        self._check_beyond_size()

    def _check_beyond_size(self) -> None:
        inside = self._facts.inside[self._places.tables] - self._places.first
        outside = np.arange(self._raw.shape[1]) >= inside[:, np.newaxis]
        self._places.report(
            "l2.beyond-size",
            outside & (self._types != ClusterType.UNALLOCATED),
            lambda raw: f"{raw:#018x} maps something behind the end of the virtual disk",
        )

    def _check_compressed(self, compressed: _Mask) -> None:
        if not compressed.any():
            return
        places = self._places
        places.report(
            "l2.compressed-copied",
            self._faults["l2.compressed-copied"],
            lambda raw: f"{raw:#018x} is compressed and yet has the COPIED flag",
            times=places.weight,
        )
        if self._data_file:
            places.report(
                "l2.compressed-data-file",
                self._faults["l2.compressed-data-file"],
                lambda raw: f"{raw:#018x} is compressed, which a data file cannot hold",
                times=places.weight,
            )
            return
        if self._bitmaps is not None:
            bad = self._faults["l2.compressed-bitmap"]
            places.report(
                "l2.compressed-bitmap",
                bad,
                lambda raw: f"{raw:#018x} is compressed, and yet its subcluster bitmap is not 0",
                times=places.weight,
            )
            compressed = compressed & ~bad
        self._claim_compressed(compressed)

    def _claim_compressed(self, compressed: _Mask) -> None:
        facts, places = self._facts, self._places
        row, column = np.nonzero(compressed)
        raw = self._raw[row, column]
        offsets, lengths = arrays.compressed_extents(raw, facts.space.cluster_bits)
        ends = offsets + lengths
        beyond = ends >= np.uint64(facts.space.end + self._size)
        mask = np.zeros(compressed.shape, dtype=np.bool_)
        mask[row[beyond], column[beyond]] = True
        self._report_beyond(mask)
        statistics, active = facts.statistics, int(places.active[row].sum())
        statistics.allocated_clusters += active
        statistics.fragmented_clusters += active
        statistics.compressed_clusters += active
        if beyond.all():
            return
        weight = places.weight[row[~beyond]]
        facts.last_data = max(facts.last_data, int(offsets[~beyond].max()))
        first = facts.cluster_indices(offsets[~beyond])
        last = facts.cluster_indices(ends[~beyond] - np.uint64(1))
        for step in range(int((last - first).max()) + 1):
            touched = first + step <= last
            facts.references.claim_compressed(first[touched] + step, weight[touched])

    def _check_unaligned(self, unaligned: _Mask) -> None:
        if self._bitmaps is None:
            without_data = (self._raw & _ZERO) != 0
        else:
            without_data = (self._bitmaps & _LOW_HALF) == 0
        self._places.report(
            "l2.unaligned",
            unaligned & ~without_data,
            lambda raw: f"{raw:#018x} maps an unaligned host offset",
            times=self._places.weight,
        )
        self._places.report(
            "l2.unaligned-zero",
            unaligned & without_data,
            lambda raw: f"{raw:#018x} has an unaligned host offset, but holds no data",
            times=self._places.weight,
            expect=lambda _: int(EntryFlag.ZERO),
        )

    def _check_subclusters(self) -> None:
        self._places.report(
            "l2.subclusters",
            self._faults["l2.subclusters"],
            lambda raw: f"{raw:#018x} has subclusters that are both allocated and zero",
            times=self._places.weight,
        )
        self._places.report(
            "l2.subclusters-unallocated",
            self._faults["l2.subclusters-unallocated"],
            lambda raw: f"{raw:#018x} maps nothing, and yet has allocated subclusters",
            times=self._places.weight,
        )

    def _check_data_file(self, is_mapped: _Mask) -> None:
        """Guest data in another file: nothing is counted, offsets must equal guest offsets."""
        places = self._places
        rows, columns = self._raw.shape
        row, column = np.arange(rows)[:, np.newaxis], np.arange(columns)
        guest = places.guest_offsets(row, column).view(np.uint64)
        places.report(
            "l2.data-file-offset",
            is_mapped & (self._offsets != guest),
            lambda raw: f"{raw:#018x} maps an offset of the data file that is not its own",
        )
        # An L1 entry with flags and no offset has QEMU walk what lies at 0, but for these flags.
        judged = self._facts.tables.offset[places.tables] != 0
        places.report(
            "l2.copied",
            is_mapped & ((self._raw & _COPIED) == 0) & judged[:, np.newaxis],
            lambda raw: f"{raw:#018x} lacks COPIED, which every entry into a data file has",
            times=places.active,
            expect=lambda raw: raw | int(EntryFlag.COPIED),
        )
        active = places.active != 0
        if active.any():
            held = is_mapped[active]
            start = self._offsets[active][held].view(np.int64)
            end = start + self._facts.space.cluster_size
            counts = np.count_nonzero(held, axis=1)
            count_fragments(self._facts, places.tables[active], counts, start, end)

    def _report_beyond(self, beyond: _Mask) -> None:
        end = self._facts.space.length
        self._places.report(
            "l2.beyond-end",
            beyond,
            lambda raw: f"{raw:#018x} points past the end of the file at {end:#x}",
            times=self._places.weight,
        )

    def _claim_unaligned(self, unaligned: _Mask) -> None:
        """An unaligned cluster touches two; both count."""
        row, column = np.nonzero(unaligned)
        if not len(row):
            return
        first = self._facts.cluster_indices(self._offsets[row, column])
        weight = self._places.weight[row]
        own = self._facts.tables.own[self._places.tables[row]]
        self._facts.references.claim_each(first, weight, own)
        self._facts.references.claim_each(first + 1, weight, own)

    def _count_entries(self) -> None:
        tables, chosen = self._facts.tables, self._places.tables
        used = self._states == EntryState.USED
        tables.used[chosen] += np.count_nonzero(used, axis=1)
        compressed = used & (self._types == ClusterType.COMPRESSED)
        tables.compressed[chosen] += np.count_nonzero(compressed, axis=1)
        for gathered, state in (
            (tables.unaligned, EntryState.UNALIGNED),
            (tables.invalid, EntryState.INVALID),
        ):
            gathered[chosen] += np.count_nonzero(self._states == state, axis=1)
