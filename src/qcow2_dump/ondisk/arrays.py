"""The vector twins of ``mapping``, ``refcounts`` and bitmap table entries.

Tables come in as bytes and become native uint64 arrays of shape (entries,); offsets become
int64 host cluster indices here and nowhere else. Arrays of uint64 and int64 are never mixed,
as numpy would make float64 of them and lose the low bits. Every function equals its scalar
twin entry by entry, which a test holds.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from qcow2_dump.ondisk.bitmaps import (
    BITMAP_TABLE_OFFSET_MASK,
    BITMAP_TABLE_RESERVED_MASK,
    BitmapEntryKind,
)
from qcow2_dump.ondisk.mapping import (
    L1_OFFSET_MASK,
    L2_OFFSET_MASK,
    REFCOUNT_TABLE_OFFSET_MASK,
    EntryFlag,
)

Buffer = bytes | bytearray | memoryview | NDArray[np.uint8]
U64 = NDArray[np.uint64]
I64 = NDArray[np.int64]
U8 = NDArray[np.uint8]
RefcountArray = NDArray[np.uint8] | NDArray[np.uint16] | NDArray[np.uint32] | NDArray[np.uint64]

_ONE = np.uint64(1)
_ZERO = np.uint64(0)
_L1_OFFSET = np.uint64(L1_OFFSET_MASK)
_L2_OFFSET = np.uint64(L2_OFFSET_MASK)
_TABLE_OFFSET = np.uint64(REFCOUNT_TABLE_OFFSET_MASK)
_BITMAP_OFFSET = np.uint64(BITMAP_TABLE_OFFSET_MASK)
_BITMAP_RESERVED = np.uint64(BITMAP_TABLE_RESERVED_MASK)
_SECTOR_MASK = np.uint64(511)
_TOP_SHIFT = np.uint64(62)
_HALF = np.uint64(32)
_LOW_HALF = np.uint64(0xFFFF_FFFF)

_DISK_DTYPES: dict[int, Any] = {4: np.dtype(">u2"), 5: np.dtype(">u4"), 6: np.dtype(">u8")}
_NATIVE_DTYPES: dict[int, Any] = {4: np.uint16, 5: np.uint32, 6: np.uint64}


def decode_u64(buffer: Buffer, out: U64 | None = None) -> U64:
    """Big-endian 64-bit entries as native uint64, shape (bytes / 8,).

    ``out`` receives them when given and must have exactly that shape. Raises ValueError
    when the buffer is not a multiple of 8 bytes or ``out`` does not fit.
    """
    stored = np.frombuffer(buffer, dtype=_DISK_DTYPES[6])
    if out is None:
        return stored.astype(np.uint64)
    if out.shape != stored.shape:
        raise ValueError(f"{stored.size} entries do not fit an array of shape {out.shape}")
    np.copyto(out, stored)
    return out


def encode_u64(values: U64) -> bytes:
    """Native uint64 values as big-endian bytes."""
    return values.astype(_DISK_DTYPES[6]).tobytes()


def decode_l2(buffer: Buffer, *, extended_l2: bool) -> tuple[U64, U64 | None]:
    """The entries of an L2 table, and their subcluster bitmaps when they are extended.

    With ``extended_l2`` both are views of every second word of one array.
    """
    words = decode_u64(buffer)
    return (words[0::2], words[1::2]) if extended_l2 else (words, None)


def l1_offsets(raw: U64, out: U64 | None = None) -> U64:
    """Host offset of the L2 table of each L1 entry, 0 where there is none."""
    return np.bitwise_and(raw, _L1_OFFSET, out=out)


def l2_offsets(raw: U64, out: U64 | None = None) -> U64:
    """Host offset in each uncompressed L2 entry, 0 where there is none."""
    return np.bitwise_and(raw, _L2_OFFSET, out=out)


def refcount_table_offsets(raw: U64, out: U64 | None = None) -> U64:
    """Host offset of the block of each refcount table entry, 0 where there is none."""
    return np.bitwise_and(raw, _TABLE_OFFSET, out=out)


def cluster_types(raw: U64, *, extended_l2: bool, data_file: bool) -> U8:
    """The ClusterType of each L2 entry, uint8, same shape (section 3.3)."""
    allocated = ((raw & _L2_OFFSET) != _ZERO).view(np.uint8)
    top = (raw >> _TOP_SHIFT).astype(np.uint8)  # bit 0 compressed, bit 1 COPIED
    zero = None if extended_l2 else raw.astype(np.uint8) & np.uint8(EntryFlag.ZERO)
    if data_file:
        copied = top >> 1
        allocated |= copied if zero is None else copied & (zero ^ 1)
    # NORMAL is 3 and UNALLOCATED 0; flipping the low bit gives ZERO_ALLOC and ZERO_PLAIN.
    types: U8 = allocated * np.uint8(3)
    if zero is not None:
        types ^= zero
    compressed = top & 1
    types &= compressed - np.uint8(1)  # wraps to all ones where not compressed
    types |= compressed << 2
    return types


def compressed_extents(raw: U64, cluster_bits: int) -> tuple[U64, U64]:
    """Byte offset and length in bytes of the stream of each compressed entry (section 2.4)."""
    offset_bits = 70 - cluster_bits
    offsets = raw & np.uint64((1 << offset_bits) - 1)
    lengths = raw >> np.uint64(offset_bits)
    lengths &= np.uint64((1 << (62 - offset_bits)) - 1)
    lengths += _ONE
    lengths <<= np.uint64(9)
    lengths -= offsets & _SECTOR_MASK
    return offsets, lengths


def subcluster_conflicts(bitmaps: U64) -> U64:
    """Subclusters marked both allocated and zero, bit x for subcluster x, per bitmap."""
    conflicts = bitmaps >> _HALF
    conflicts &= bitmaps
    conflicts &= _LOW_HALF
    return conflicts


def cluster_indices(offsets: U64, cluster_bits: int, out: I64 | None = None) -> I64:
    """The host cluster that each byte offset lies in, as int64.

    Exact for every offset, as at least 9 bits are shifted out. ``out`` may be the memory of
    ``offsets`` itself, seen as int64.
    """
    target = None if out is None else out.view(np.uint64)
    indices = np.right_shift(offsets, np.uint64(cluster_bits), out=target)
    return indices.view(np.int64) if out is None else out


def distinct(values: I64) -> I64:
    """The different ones of some int64 values, ascending.

    ``np.unique`` without further results would import ``numpy.ma``, a tenth of our start-up.
    """
    ordered = np.sort(values)
    first = np.ones(len(ordered), dtype=np.bool_)
    first[1:] = ordered[1:] != ordered[:-1]
    return ordered[first]


def bitmap_entry_kinds(raw: U64, cluster_bits: int = 9) -> U8:
    """The BitmapEntryKind of each bitmap table entry, uint8, same shape (section 6.2)."""
    offsets = raw & _BITMAP_OFFSET
    data = offsets != _ZERO
    ones = (raw & _ONE) != _ZERO
    wrong = (raw & _BITMAP_RESERVED) != _ZERO
    wrong |= (offsets & np.uint64((1 << cluster_bits) - 1)) != _ZERO
    wrong |= data & ones
    kinds: U8 = ones.astype(np.uint8) * np.uint8(BitmapEntryKind.ALL_ONES)
    kinds |= data.view(np.uint8) << np.uint8(1)
    kinds[wrong] = BitmapEntryKind.INVALID
    return kinds


def unpack_refcounts(block: Buffer, order: int) -> RefcountArray:
    """All refcounts of a block, in the narrowest native dtype (section 2.2).

    uint8 up to order 3, then uint16, uint32, uint64. Order 3 gives a view of ``block``,
    read-only when that is; the others give new arrays.
    """
    if order >= 4:
        wide: RefcountArray = np.frombuffer(block, _DISK_DTYPES[order]).astype(
            _NATIVE_DTYPES[order]
        )
        return wide
    stored = np.frombuffer(block, np.uint8)
    if order == 3:
        return stored
    if order == 0:
        return np.unpackbits(stored, bitorder="little")
    if order == 1:
        return _spread_pairs(stored)
    nibbles = np.empty((stored.size, 2), np.uint8)
    np.bitwise_and(stored, 15, out=nibbles[:, 0])
    np.right_shift(stored, 4, out=nibbles[:, 1])
    return nibbles.reshape(-1)


def _spread_pairs(stored: U8) -> U8:
    """Four 2-bit values of each byte as four bytes, lowest first."""
    words = stored.astype("<u4")
    words |= words << np.uint32(12)
    words &= np.uint32(0x000F_000F)
    words |= words << np.uint32(6)
    words &= np.uint32(0x0303_0303)
    return words.view(np.uint8)


def pack_refcounts(values: RefcountArray, order: int) -> bytes:
    """The block that holds ``values`` (unsigned, any width), whole bytes long.

    Raises ValueError when a value does not fit ``2**order`` bits.
    """
    bits = 1 << order
    if values.size and values.dtype.itemsize * 8 > bits and int(values.max()) >> bits:
        raise ValueError(f"refcount {int(values.max())} does not fit {bits} bits")
    if order >= 4:
        return values.astype(_DISK_DTYPES[order]).tobytes()
    narrow = values.astype(np.uint8)
    if order == 3:
        return narrow.tobytes()
    if order == 0:
        return np.packbits(narrow, bitorder="little").tobytes()
    per_byte = 8 >> order
    lanes = np.zeros((-(-narrow.size // per_byte), per_byte), np.uint8)
    lanes.reshape(-1)[: narrow.size] = narrow
    lanes <<= np.arange(0, 8, bits, dtype=np.uint8)
    joined: U8 = np.bitwise_or.reduce(lanes, axis=1)
    return joined.tobytes()
