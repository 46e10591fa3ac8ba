"""What is said of one entry by itself: its class for the statistics, and the rules that it breaks.

Arrays in, arrays out, entry by entry and wherever the table lies: the check and the listings ask
the same questions here (format sections 3.3, 8.2 to 8.4).
"""

from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from qcow2_dump.checks.host_space import HostSpace
from qcow2_dump.checks.result import TableStatistics
from qcow2_dump.ondisk import arrays
from qcow2_dump.ondisk.header import Header
from qcow2_dump.ondisk.mapping import L2_RESERVED_MASK, ClusterType, EntryFlag

__all__ = ["EntryState", "count_states", "l1_states", "l2_faults", "l2_states"]

_U8 = NDArray[np.uint8]
_U64 = NDArray[np.uint64]
_Mask = NDArray[np.bool_]

_RESERVED = np.uint64(L2_RESERVED_MASK)
_COPIED = np.uint64(int(EntryFlag.COPIED))
_ZERO = np.uint64(int(EntryFlag.ZERO))
_LOW_HALF = np.uint64(0xFFFF_FFFF)
_NOTHING = np.uint64(0)


class EntryState(IntEnum):
    """The class in which the statistics count an entry.

    Used entries name a place in the file, unused ones none (zero-plain among them); unaligned and
    invalid ones, which lie past the end of the file, name an impossible place.
    """

    UNUSED = 0
    USED = 1
    UNALIGNED = 2
    INVALID = 3


def l1_states(offsets: _U64, space: HostSpace) -> _U8:
    """The EntryState of L1 entries by the offsets of their L2 tables: uint8, same shape."""
    states: _U8 = (offsets != _NOTHING).astype(np.uint8)  # USED is 1
    states[offsets >= np.uint64(space.end)] = EntryState.INVALID
    states[(offsets & np.uint64(space.cluster_size - 1)) != _NOTHING] = EntryState.UNALIGNED
    return states


def l2_states(raw: _U64, types: _U8, header: Header, space: HostSpace) -> _U8:
    """The EntryState of L2 entries of some ClusterTypes: uint8, same shape.

    Nothing is past the end of an external data file, which is not looked at.
    """
    mapped = (types == ClusterType.NORMAL) | (types == ClusterType.ZERO_ALLOC)
    compressed = types == ClusterType.COMPRESSED
    states: _U8 = (mapped | compressed).astype(np.uint8)  # USED is 1
    offsets = arrays.l2_offsets(raw)
    unaligned = (offsets & np.uint64(space.cluster_size - 1)) != _NOTHING
    states[mapped & unaligned] = EntryState.UNALIGNED
    if header.has_data_file:
        return states
    states[mapped & (offsets >= np.uint64(space.end))] = EntryState.INVALID
    if compressed.any():
        starts, lengths = arrays.compressed_extents(raw, space.cluster_bits)
        beyond = starts + lengths >= np.uint64(space.end + space.cluster_size)
        states[compressed & beyond] = EntryState.INVALID
    return states


def count_states(states: _U8, types: _U8 | None = None) -> TableStatistics:
    """How many entries are of each state; with ``types``, how many used ones are compressed."""
    unused, used, unaligned, invalid = np.bincount(states, minlength=4).tolist()
    compressed = 0
    if types is not None:
        inside = states == EntryState.USED
        compressed = int(np.count_nonzero(inside & (types == ClusterType.COMPRESSED)))
    return TableStatistics(
        unaligned=unaligned, invalid=invalid, unused=unused, used=used, compressed=compressed
    )


def l2_faults(raw: _U64, types: _U8, bitmaps: _U64 | None, header: Header) -> dict[str, _Mask]:
    """The rules that L2 entries break whatever their place: bool[entries] by code.

    Alignment and the end of the file are told by `l2_states`. ``bitmaps`` are the subcluster
    bitmaps, None without extended L2 entries. Only rules that the image can break are among the
    keys.
    """
    compressed = types == ClusterType.COMPRESSED
    copied = (raw & _COPIED) != _NOTHING
    zero = ~compressed & ((raw & _ZERO) != _NOTHING)
    nowhere = (types == ClusterType.UNALLOCATED) | (types == ClusterType.ZERO_PLAIN)
    faults = {
        "l2.reserved": ~compressed & ((raw & _RESERVED) != _NOTHING),
        "l2.copied-no-offset": nowhere & copied,
        "l2.compressed-copied": compressed & copied,
    }
    if header.has_data_file:
        faults["l2.compressed-data-file"] = compressed
    if header.extended_l2:
        faults["l2.bit0-extended"] = zero
    elif not header.is_v3:
        faults["l2.zero-v2"] = zero
    if bitmaps is not None:
        faults |= _bitmap_faults(types, bitmaps)
    return faults


def _bitmap_faults(types: _U8, bitmaps: _U64) -> dict[str, _Mask]:
    """What is wrong with subcluster bitmaps (format section 2.3)."""
    mapped = types == ClusterType.NORMAL
    return {
        "l2.compressed-bitmap": (types == ClusterType.COMPRESSED) & (bitmaps != _NOTHING),
        "l2.subclusters": mapped & (arrays.subcluster_conflicts(bitmaps) != _NOTHING),
        "l2.subclusters-unallocated": (types == ClusterType.UNALLOCATED)
        & ((bitmaps & _LOW_HALF) != _NOTHING),
    }
