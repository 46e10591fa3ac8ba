"""Compressed entries that have the COPIED flag: one of the two flags is wrong, but which?

QEMU never sets both. If there is a stream that decodes, the entry is compressed; if there is none
and the entry makes sense as an ordinary one, it is that; otherwise nobody can tell.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from qcow2_dump.checks.bitset import BitSet
from qcow2_dump.checks.facts import CheckFacts
from qcow2_dump.checks.mapping.entry_classes import EntryState, l2_faults, l2_states
from qcow2_dump.checks.pass_deep import StreamReader
from qcow2_dump.checks.refcount_map import RefcountMap
from qcow2_dump.ondisk import arrays
from qcow2_dump.ondisk.mapping import EntryFlag
from qcow2_dump.planners.mapping.changes import L2Rows

__all__ = ["CompressedFlags"]

_COMPRESSED = np.uint64(int(EntryFlag.COMPRESSED))
_DESCRIPTOR = np.uint64(int(EntryFlag.COPIED) - 1)
_NOTHING = np.uint64(0)

_Mask = NDArray[np.bool_]


class CompressedFlags:
    """Decides which flag is wrong. ``mapped`` counts the entries whose compressed flag is.

    ``references`` are those of `mapping_changes.certain_references`.
    """

    def __init__(self, facts: CheckFacts, references: RefcountMap) -> None:
        self._facts = facts
        self._references = references
        self._reader: StreamReader | None = None
        self._taken = BitSet(facts.references.size)
        self.mapped = 0
        self._left = 0

    def judge(self, rows: L2Rows, both: _Mask) -> tuple[_Mask, _Mask]:
        """Judge the entries that have both flags (bool[rows, columns]).

        Returns those whose stream decodes, and those that make sense without the compressed flag;
        the same shape. Nothing is said where the guest's data lies in another file.
        """
        decodes, mapped = np.zeros_like(both), np.zeros_like(both)
        row, column = np.nonzero(both)
        if not len(row):
            return decodes, mapped
        if not self._facts.image.header.has_data_file:
            sound, read = self._decode(rows.entries[row, column])
            decodes[row[sound], column[sound]] = True
            # Where nothing was read, nothing may be concluded from its not decoding.
            ordinary = ~sound & read & self._is_ordinary(rows, row, column)
            mapped[row[ordinary], column[ordinary]] = True
        self.mapped += int(np.count_nonzero(mapped))
        self._left += len(row) - int(np.count_nonzero(decodes | mapped))
        return decodes, mapped

    def notes(self) -> Iterator[str]:
        """What could not be decided, in a sentence."""
        if self._left:
            one = self._left == 1
            yield (
                f"{self._left:,} compressed entr{'y' if one else 'ies'} with the COPIED flag "
                f"{'is' if one else 'are'} left as {'it is' if one else 'they are'}: there is no "
                "stream that decodes, and without the compressed flag the entry would make no "
                "sense either."
            )

    def _decode(self, raw: NDArray[np.uint64]) -> tuple[_Mask, _Mask]:
        """Which entries (uint64[n]) have a stream that decodes, and of which it is known: bool[n].

        It is not when streams overlap so much that it would never end.
        """
        if self._reader is None:
            self._reader = StreamReader(self._facts)
        space = self._facts.space
        offsets, lengths = arrays.compressed_extents(raw, space.cluster_bits)
        inside = offsets + lengths < np.uint64(space.end + space.cluster_size)
        descriptors, which = np.unique(raw & _DESCRIPTOR, return_inverse=True)
        sound = np.zeros(len(descriptors), dtype=np.bool_)
        read = np.zeros(len(descriptors), dtype=np.bool_)
        for at in arrays.distinct(which[inside]).tolist():
            if self._reader.exhausted:
                break
            sound[at] = not self._reader.is_broken(int(descriptors[at]))
            read[at] = True
        # What lies past the end of the file is no stream.
        return sound[which], read[which] | ~inside

    def _is_ordinary(
        self, rows: L2Rows, row: NDArray[np.int64], column: NDArray[np.int64]
    ) -> _Mask:
        """Which entries are sound without the compressed flag, of a cluster nobody else claims."""
        facts, header = self._facts, self._facts.image.header
        raw = rows.entries[row, column]
        plain = raw & ~_COMPRESSED
        bitmaps = None if rows.bitmaps is None else rows.bitmaps[row, column]
        types = arrays.cluster_types(plain, extended_l2=header.extended_l2, data_file=False)
        sound = l2_states(plain, types, header, facts.space) == EntryState.USED
        for fault in l2_faults(plain, types, bitmaps, header).values():
            sound &= ~fault
        clusters = np.where(sound, facts.cluster_indices(arrays.l2_offsets(plain)), 0)
        weight = facts.tables.weight[rows.tables[row]]
        claimed = self._claims_as_stream(raw, bitmaps, clusters)
        counted = self._references.counts[clusters].astype(np.int64)
        sound &= counted == np.where(claimed, weight, 0)
        return self._take(clusters, sound)

    def _take(self, clusters: NDArray[np.int64], wanted: _Mask) -> _Mask:
        """Leave each cluster to one entry at most: another one may not have been counted."""
        taken: _Mask = wanted & ~self._taken.contains(clusters)
        first = np.zeros(len(clusters), dtype=np.bool_)
        chosen = np.flatnonzero(taken)
        first[chosen[np.unique(clusters[chosen], return_index=True)[1]]] = True
        self._taken.add(clusters[first])
        return first

    def _claims_as_stream(
        self,
        raw: NDArray[np.uint64],
        bitmaps: NDArray[np.uint64] | None,
        clusters: NDArray[np.int64],
    ) -> _Mask:
        """Which entries were counted for these clusters, as the streams that they say they are."""
        space = self._facts.space
        offsets, lengths = arrays.compressed_extents(raw, space.cluster_bits)
        counted = offsets + lengths < np.uint64(space.end + space.cluster_size)
        if bitmaps is not None:
            counted &= bitmaps == _NOTHING
        first = self._facts.cluster_indices(offsets)
        last = self._facts.cluster_indices(offsets + lengths - np.uint64(1))
        found: _Mask = counted & (first <= clusters) & (clusters <= last)
        return found
