"""Metadata entries in the line shapes of the original tool, which scripts parse.

What is wrong with an entry beyond what its line can say follows on a line of its own, which
starts with two tabs.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from qcow2_dump.checks.listing.bitmaps import BitmapEntriesListed
from qcow2_dump.checks.listing.entries import L1Listed, L2Listed
from qcow2_dump.checks.listing.refcounts import (
    BlockEnded,
    BlockListed,
    RefcountsListed,
    RefcountState,
)
from qcow2_dump.checks.mapping.entry_classes import EntryState
from qcow2_dump.checks.result import RefcountStatistics, TableStatistics
from qcow2_dump.ondisk.bitmaps import BitmapEntryKind
from qcow2_dump.ondisk.mapping import ClusterType, EntryFlag
from qcow2_dump.report.columns import Decimal, Hexadecimal, Piece, Words, rendered

__all__ = [
    "FLAG_SETS",
    "bitmap_lines",
    "block_end_line",
    "block_line",
    "flag_sets",
    "l1_line",
    "l2_lines",
    "refcount_lines",
    "refcount_statistics",
    "table_statistics",
]

FLAG_SETS = tuple(
    tuple(name for bit, name in enumerate(("COPIED", "COMPRESSED", "ZERO")) if flags >> bit & 1)
    for flags in range(8)
)
"""The names of the flags for each code that `flag_sets` gives."""

_STATES = {EntryState.UNALIGNED: " [unaligned]", EntryState.INVALID: " [invalid]"}
_STATE_WORDS = (b"", b"", b"] [unaligned]", b"] [invalid]")

_WRONG = {
    "l1.reserved": "reserved bits are set",
    "l1.no-offset": "flags without an offset: QEMU reads the header as its L2 table",
    "l2.reserved": "reserved bits are set",
    "l2.copied-no-offset": "COPIED without an offset",
    "l2.bit0-extended": "bit 0 is set, which means nothing with extended L2 entries",
    "l2.zero-v2": "the zero flag, which version 2 does not know",
    "l2.compressed-copied": "compressed, and yet COPIED",
    "l2.compressed-data-file": "compressed, which a data file cannot hold",
    "l2.compressed-bitmap": "compressed, and yet its subcluster bitmap is not 0",
    "l2.subclusters": "subclusters are both allocated and zero",
    "l2.subclusters-unallocated": "subclusters are allocated in no cluster",
    "l2.beyond-size": "behind the end of the virtual disk",
    "l2.data-file-offset": "not the guest's own offset in the data file",
    "refcount.table-reserved": "reserved bits are set",
}
_OVERFLOW = b"\t\tmore references than a refcount can hold\n"


def l1_line(entry: L1Listed, *, flags: bool) -> str:
    """The line of an L1 entry, with what else is wrong with it."""
    line = f"l1 table[{entry.index:4d}], l2 offset: {entry.offset:#x}"
    if flags:
        copied = ": COPIED" if entry.raw & EntryFlag.COPIED else ""
        line += f"  [{entry.raw:#x}{copied}]"
    return line + _ending(entry.raw, entry.state, entry.faults)


def l2_lines(table: L2Listed, *, flags: bool) -> Iterator[str]:
    """The lines of an L2 table's entries, and those that count them."""
    rows = table.rows
    guests = rows.astype(np.uint64) * np.uint64(table.cluster_size)
    guests += np.uint64(table.guest_start)
    raw = table.raw[rows]
    pieces: list[Piece] = [
        b"\tl2 table[",
        Decimal(rows, 4),
        b"], data offset: 0x",
        Hexadecimal(table.hosts[rows]),
    ]
    if flags:
        shown = tuple(f": {', '.join(names)}".encode() if names else b"" for names in FLAG_SETS)
        codes = flag_sets(raw, table.types[rows])
        pieces += [b"  [0x", Hexadecimal(raw), Words(codes, shown), b"]"]
    pieces += _bad_place(raw, table.states[rows])
    pieces += [b" | vdisk offset: 0x", Hexadecimal(guests), b"\n"]
    if table.bitmaps is not None:
        pieces += _subclusters(table.bitmaps[rows])
    pieces += _faults(table.faults, rows)
    yield from rendered(len(rows), *pieces)
    yield f"\n\tL2 Entry: {table_statistics(table.statistics)}{_compressed(table)}\n\n"


def bitmap_lines(listed: BitmapEntriesListed) -> Iterator[str]:
    """The lines of some entries of a bitmap table."""
    rows = listed.rows
    ones = listed.kinds[rows] == BitmapEntryKind.ALL_ONES
    yield from rendered(
        len(rows),
        b"bitmap table[",
        Decimal(rows + listed.first, 4),
        b"], data offset: 0x",
        Hexadecimal(listed.hosts[rows]),
        *_bad_place(listed.raw[rows], listed.states[rows]),
        Words(ones.astype(np.uint8), (b"", b" [all ones]")),
        b"\n",
    )


def block_line(block: BlockListed, *, flags: bool) -> str:
    """The line of a refcount table entry."""
    line = f"refcount table[{block.index:4d}], offset: {block.offset:#x}"
    if flags:
        line += f"  [{block.raw:#x}]"
    line += _ending(block.raw, block.state, block.faults)
    return line if block.readable else line + "\t\tits refcounts cannot be read\n"


def refcount_lines(listed: RefcountsListed, cluster_bits: int, per_block: int) -> Iterator[str]:
    """The lines of some refcounts; a cluster that is wrong is named."""
    rows = listed.rows
    first_in_block = listed.first - listed.parent.index * per_block
    stored, states = listed.stored[rows], listed.states[rows]
    pieces: list[Piece] = [
        b"\trefcount block[",
        Decimal(rows + first_in_block, 5),
        b"], refcount: ",
        Decimal(stored),
        b" | reference: ",
        Decimal(listed.counted[rows]),
    ]
    bad = states >= RefcountState.LEAK
    if bad.any():
        code = bad.astype(np.uint8)
        rebuild = (states == RefcountState.ERROR) & (stored == 0)
        clusters = (rows + listed.first).astype(np.uint64)
        pieces += [
            Words(states, (b"", b"", b" [leak]", b" [error]")),
            Words(rebuild.astype(np.uint8), (b"", b" [rebuild]")),
            Words(code, (b"", b" | cluster[")),
            Decimal(clusters, where=bad),
            Words(code, (b"", b"] offset: 0x")),
            Hexadecimal(clusters << np.uint64(cluster_bits), where=bad),
        ]
    pieces.append(b"\n")
    if listed.too_many.any():
        pieces.append(Words(listed.too_many[rows].astype(np.uint8), (b"", _OVERFLOW)))
    yield from rendered(len(rows), *pieces)


def block_end_line(ended: BlockEnded) -> str:
    """The lines that count the refcounts of a block."""
    return f"\n\tRefcount: {refcount_statistics(ended.statistics)}\n\n"


def table_statistics(counts: TableStatistics, missing: int = 0) -> str:
    """Entries by state; ``missing`` blocks of a refcount table are told when there are any."""
    miss = f", miss: {missing}" if missing else ""
    return (
        f"unaligned: {counts.unaligned}, invalid: {counts.invalid}{miss}, "
        f"unused: {counts.unused}, used: {counts.used}"
    )


def refcount_statistics(counts: RefcountStatistics, *, rebuild: bool = False) -> str:
    """Clusters by state; with ``rebuild`` also those whose refcount is 0 under a reference."""
    zero = f", rebuild: {counts.rebuild}" if rebuild and counts.rebuild else ""
    return (
        f"error: {counts.error}, leak: {counts.leak}{zero}, "
        f"unused: {counts.unused}, used: {counts.used}"
    )


def flag_sets(raw: NDArray[np.uint64], types: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Which flags L2 entries carry, as positions in `FLAG_SETS`: uint8, same shape."""
    zero = (types == ClusterType.ZERO_PLAIN) | (types == ClusterType.ZERO_ALLOC)
    codes = (raw >> np.uint64(63)).astype(np.uint8)
    codes |= (types == ClusterType.COMPRESSED).astype(np.uint8) << 1
    codes |= zero.astype(np.uint8) << 2
    return codes


def _ending(raw: int, state: EntryState, faults: tuple[str, ...]) -> str:
    """The end of the line of a single entry, and the lines about its faults."""
    place = f" [{raw:#x}]{_STATES[state]}" if state in _STATES else ""
    return place + "\n" + "".join(f"\t\t{_WRONG[code]}\n" for code in faults)


def _bad_place(raw: NDArray[np.uint64], states: NDArray[np.uint8]) -> list[Piece]:
    """The raw entry and what is wrong with its offset, where something is."""
    bad = states >= EntryState.UNALIGNED
    if not bad.any():
        return []
    return [
        Words(bad.astype(np.uint8), (b"", b" [0x")),
        Hexadecimal(raw, where=bad),
        Words(states, _STATE_WORDS),
    ]


def _subclusters(bitmaps: NDArray[np.uint64]) -> list[Piece]:
    """A line with the two halves of each subcluster bitmap."""
    return [
        b"\t\tsubclusters: allocated 0x",
        Hexadecimal(bitmaps & np.uint64(0xFFFF_FFFF), 8),
        b", zero 0x",
        Hexadecimal(bitmaps >> np.uint64(32), 8),
        b"\n",
    ]


def _faults(faults: dict[str, NDArray[np.bool_]], rows: NDArray[np.int64]) -> list[Piece]:
    """A line for each rule that an entry breaks."""
    return [
        Words(mask[rows].astype(np.uint8), (b"", f"\t\t{_WRONG[code]}\n".encode()))
        for code, mask in faults.items()
    ]


def _compressed(table: L2Listed) -> str:
    return f", compressed: {table.statistics.compressed}" if table.statistics.compressed else ""
