"""Persistent dirty bitmaps: extension, directory, tables, data clusters (format section 6).

Judges the structures and yields the regions that they occupy. A bitmap that is in use was not
saved, so its content means nothing; its clusters are allocated all the same.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from qcow2_dump.checks.facts import CheckFacts, Region
from qcow2_dump.checks.findings import Finding, Table
from qcow2_dump.checks.tables.nonzero_entries import read_nonzero
from qcow2_dump.checks.tables.segments import segments_of
from qcow2_dump.image.shown_names import shown
from qcow2_dump.image.tables import BitmapDirectory, BitmapItem
from qcow2_dump.ondisk import arrays
from qcow2_dump.ondisk.bitmaps import BitmapEntryKind, bitmap_entry_rules, bitmap_extension_rules
from qcow2_dump.ondisk.constants import MAX_READABLE_OFFSET, BitmapFlag, ExtensionType
from qcow2_dump.ondisk.rules import BrokenRule

__all__ = [
    "bitmap_clusters",
    "bitmap_entries_beyond",
    "bitmap_regions",
    "check_bitmaps",
    "claim_bitmap_data",
]

_EXTENSION_DATA = 8  # behind type and length
_DIRECTORY_OFFSET = _EXTENSION_DATA + 16  # behind the number of bitmaps and the directory's size


def check_bitmaps(facts: CheckFacts) -> None:
    """Judge the bitmaps, when the image says that they are valid."""
    image = facts.image
    extension = image.extensions.last(ExtensionType.BITMAPS)
    if extension is None:
        return
    if not image.bitmaps_valid:
        message = "the image holds bitmaps that are not valid any more; QEMU ignores them"
        table = Table("header", 0)
        facts.log.add(
            Finding(code="bitmap.not-valid", message=message, offset=extension.offset, table=table)
        )
        return
    directory = image.bitmap_directory
    if directory is None:
        return
    start = extension.offset + _EXTENSION_DATA
    for rule in bitmap_extension_rules(directory.extension, image.geometry):
        _report(facts, "bitmap.extension", rule, Table("header", 0), start)
    if directory.problem is not None:
        _report_directory(facts, directory, directory.problem)
    _check_names(facts, directory)
    for item in directory.entries:
        _check_entry(facts, directory, item)


def _check_entry(facts: CheckFacts, directory: BitmapDirectory, item: BitmapItem) -> None:
    table = Table("bitmap_directory", directory.extension.directory_offset)
    flags = BitmapFlag(item.entry.flags)
    name = shown(item.entry.name)
    for rule in bitmap_entry_rules(item.entry, facts.image.geometry, facts.image.header.size):
        code = _entry_code(rule, flags)
        _report(facts, code, rule, table, item.offset, prefix=f"bitmap {name}: ")
    if BitmapFlag.IN_USE in flags:
        message = f"bitmap {name} was in use when the image was last closed: not saved"
        facts.log.add(
            Finding(code="bitmap.in-use", message=message, offset=item.offset + 12, table=table)
        )


def _entry_code(rule: BrokenRule, flags: BitmapFlag) -> str:
    # Inverting an IntFlag drops the bits that have no name, so this is done on integers.
    known = int(BitmapFlag.IN_USE | BitmapFlag.AUTO | BitmapFlag.EXTRA_DATA_COMPATIBLE)
    if rule.rule == "bitmap-flags" and not int(flags) & ~known:
        return "bitmap.extra-data-flag"
    if rule.rule.startswith("bitmap-table"):
        return "bitmap.table"
    return "bitmap.directory" if rule.refused else "header.oddity"


def _check_names(facts: CheckFacts, directory: BitmapDirectory) -> None:
    seen: set[bytes] = set()
    for item in directory.entries:
        if item.entry.name in seen:
            message = f"two bitmaps are named {shown(item.entry.name)}"
            _report_directory(facts, directory, message, item.offset)
        seen.add(item.entry.name)


def _report(
    facts: CheckFacts, code: str, rule: BrokenRule, table: Table, start: int, prefix: str = ""
) -> None:
    message = prefix + rule.message
    if rule.refused:
        facts.refuse(message)
    # A legal image that only QEMU refuses is no corruption.
    counted = rule.refused and code != "bitmap.extra-data-flag"
    facts.log.add(
        Finding(
            code=code,
            message=message,
            offset=start + rule.offset,
            table=table,
            count=int(counted),
            value=rule.value,
            expected=rule.expected,
        )
    )


def _report_directory(
    facts: CheckFacts, directory: BitmapDirectory, message: str, offset: int | None = None
) -> None:
    facts.refuse(f"bitmap directory: {message}")
    start = directory.extension.directory_offset
    facts.log.add(
        Finding(
            code="bitmap.directory",
            message=f"bitmap directory: {message}",
            offset=start if offset is None else offset,
            table=Table("bitmap_directory", start),
            count=1,
        )
    )


def bitmap_regions(facts: CheckFacts, directory: BitmapDirectory) -> Iterator[Region]:
    """The directory and the bitmap tables, those of no length left out."""
    extension = facts.image.extensions.last(ExtensionType.BITMAPS)
    named = extension.offset + _DIRECTORY_OFFSET if extension is not None else 0
    start, size = directory.extension.directory_offset, directory.extension.directory_size
    if size and start + size <= MAX_READABLE_OFFSET:
        yield Region("bitmap_directory", start, size, named)
    for item in directory.entries:
        entry = item.entry
        if entry.table_size and entry.table_offset + 8 * entry.table_size <= MAX_READABLE_OFFSET:
            yield Region("bitmap_table", entry.table_offset, 8 * entry.table_size, item.offset)


class _Piece(NamedTuple):
    """Some entries of bitmap tables that are not zero; arrays of one length.

    ``place`` is their file offset (int64), ``raw`` what they hold (uint64), ``item`` the position
    in ``items`` of the first bitmap that has them (int64), ``weight`` how many do (int64).
    """

    items: list[BitmapItem]
    place: NDArray[np.int64]
    raw: NDArray[np.uint64]
    item: NDArray[np.int64]
    weight: NDArray[np.int64]


def claim_bitmap_data(facts: CheckFacts, directory: BitmapDirectory) -> None:
    """Judge the entries of the bitmap tables, and count the claims of bitmap data."""
    for piece in _pieces(facts, directory):
        kinds = arrays.bitmap_entry_kinds(piece.raw, facts.space.cluster_bits)
        invalid = kinds == BitmapEntryKind.INVALID
        if invalid.any():
            facts.refuse("a bitmap table entry is invalid")
        held = kinds == BitmapEntryKind.DATA
        offsets = arrays.l2_offsets(piece.raw)
        beyond = held & (offsets >= np.uint64(facts.space.end))
        _report_entries(facts, piece, invalid, "bitmap.table", "is no valid bitmap table entry")
        _report_entries(
            facts, piece, beyond, "bitmap.beyond-end", "points past the end of the file"
        )
        inside = held & ~beyond
        indices = facts.cluster_indices(offsets[inside])
        weight = piece.weight[inside]
        facts.references.claim_each(indices, weight, np.ones_like(weight))


def bitmap_clusters(
    facts: CheckFacts, directory: BitmapDirectory
) -> Iterator[tuple[int, NDArray[np.uint64]]]:
    """The clusters of bitmap data in the file: offset of a table, and host offsets (uint64)."""
    for piece in _pieces(facts, directory):
        offsets = arrays.l2_offsets(piece.raw)
        kinds = arrays.bitmap_entry_kinds(piece.raw, facts.space.cluster_bits)
        inside = (kinds == BitmapEntryKind.DATA) & (offsets < np.uint64(facts.space.end))
        cuts = np.flatnonzero(np.diff(piece.item[inside])) + 1
        for item, held in zip(
            np.split(piece.item[inside], cuts), np.split(offsets[inside], cuts), strict=True
        ):
            if len(held):
                yield piece.items[int(item[0])].entry.table_offset, held


def _pieces(facts: CheckFacts, directory: BitmapDirectory) -> Iterator[_Piece]:
    """Read the bitmap tables, each part of the file once however many tables lie there."""
    end = facts.space.end & ~7
    items = [
        item
        for item in directory.entries
        if facts.image.geometry.is_aligned(item.entry.table_offset)
        and item.entry.table_size
        and item.entry.table_offset < end
    ]
    starts = [item.entry.table_offset for item in items]
    ends = [min(item.entry.table_offset + 8 * item.entry.table_size, end) for item in items]
    segments = segments_of(list(zip(starts, ends, strict=True)))
    for run in segments.runs():
        for place, raw in read_nonzero(facts.image.source, *run):
            at = segments.at(place)
            yield _Piece(items, place, raw, segments.owner[at], segments.weight[at])


def bitmap_entries_beyond(
    facts: CheckFacts, directory: BitmapDirectory
) -> Iterator[NDArray[np.int64]]:
    """The file offsets of bitmap table entries that point past the end of the file (int64)."""
    for piece in _pieces(facts, directory):
        kinds = arrays.bitmap_entry_kinds(piece.raw, facts.space.cluster_bits)
        beyond = arrays.l2_offsets(piece.raw) >= np.uint64(facts.space.end)
        yield piece.place[(kinds == BitmapEntryKind.DATA) & beyond]


def _report_entries(
    facts: CheckFacts, piece: _Piece, bad: NDArray[np.bool_], code: str, what: str
) -> None:
    chosen = np.flatnonzero(bad)

    def make(i: int) -> Finding:
        at = int(chosen[i])
        entry = piece.items[int(piece.item[at])].entry
        place, value = int(piece.place[at]), int(piece.raw[at])
        index = (place - entry.table_offset) // 8
        return Finding(
            code=code,
            message=f"bitmap {shown(entry.name)}, table entry {index}: {value:#018x} {what}",
            offset=place,
            table=Table("bitmap_table", entry.table_offset),
            count=int(piece.weight[at]),
            value=value,
        )

    count = int(piece.weight[chosen].sum())
    facts.log.add_many(code, len(chosen), make, count=count)
