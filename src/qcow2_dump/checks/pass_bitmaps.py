"""Persistent dirty bitmaps: extension, directory, tables, data clusters (format section 6).

Judges the structures and yields the regions that they occupy. A bitmap that is in use was not
saved, so its content means nothing; its clusters are allocated all the same.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from qcow2_dump.checks.facts import CheckFacts, Region
from qcow2_dump.checks.findings import Finding, Table
from qcow2_dump.image.tables import BitmapDirectory, BitmapItem
from qcow2_dump.ondisk import arrays
from qcow2_dump.ondisk.bitmaps import BitmapEntryKind, bitmap_entry_rules, bitmap_extension_rules
from qcow2_dump.ondisk.constants import MAX_READABLE_OFFSET, BitmapFlag, ExtensionType
from qcow2_dump.ondisk.rules import BrokenRule

__all__ = ["bitmap_clusters", "bitmap_regions", "check_bitmaps"]

_EXTENSION_DATA = 8  # behind type and length


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
    name = item.entry.name.decode("utf-8", "backslashreplace")
    for rule in bitmap_entry_rules(item.entry, facts.image.geometry, facts.image.header.size):
        code = _entry_code(rule, flags)
        _report(facts, code, rule, table, item.offset, prefix=f'bitmap "{name}": ')
    if BitmapFlag.IN_USE in flags:
        message = f'bitmap "{name}" was in use when the image was last closed: not saved'
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
            name = item.entry.name.decode("utf-8", "backslashreplace")
            _report_directory(facts, directory, f'two bitmaps are named "{name}"', item.offset)
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


def bitmap_regions(directory: BitmapDirectory) -> Iterator[Region]:
    """The directory and the bitmap tables."""
    extension = directory.extension
    if extension.directory_offset + extension.directory_size <= MAX_READABLE_OFFSET:
        yield Region("bitmap_directory", extension.directory_offset, extension.directory_size, 0)
    for item in directory.entries:
        entry = item.entry
        if entry.table_size and entry.table_offset + 8 * entry.table_size <= MAX_READABLE_OFFSET:
            yield Region("bitmap_table", entry.table_offset, 8 * entry.table_size, item.offset)


def bitmap_clusters(
    facts: CheckFacts, directory: BitmapDirectory, *, report: bool
) -> Iterator[tuple[int, NDArray[np.uint64]]]:
    """The clusters of bitmap data: per table its file offset, and host offsets (uint64).

    With ``report`` unusable entries become findings; offsets past the end are left out either
    way. Tables of a hostile image may overlap: no more is read than the file holds.
    """
    budget = facts.space.end
    for item in directory.entries:
        start, length = item.entry.table_offset, 8 * item.entry.table_size
        inside = max(0, min(length, facts.space.end - start))
        budget -= inside
        if budget < 0:
            if report:
                message = "bitmap tables overlap so much that not all of them were read"
                facts.log.add(Finding(code="check.incomplete", message=message))
            return
        raw = arrays.decode_u64(facts.image.source.read(start, inside & ~7))
        kinds = arrays.bitmap_entry_kinds(raw, facts.space.cluster_bits)
        offsets = arrays.l2_offsets(raw)
        held = kinds == BitmapEntryKind.DATA
        beyond = held & (offsets >= np.uint64(facts.space.end))
        if report:
            invalid = kinds == BitmapEntryKind.INVALID
            if invalid.any():
                facts.refuse("a bitmap table entry is invalid")
            _report_table(facts, item, raw, invalid, "is no valid bitmap table entry")
            _report_table(facts, item, raw, beyond, "points past the end of the file")
        yield start, offsets[held & ~beyond]


def _report_table(
    facts: CheckFacts,
    item: BitmapItem,
    raw: NDArray[np.uint64],
    bad: NDArray[np.bool_],
    what: str,
) -> None:
    places = np.flatnonzero(bad)
    name = item.entry.name.decode("utf-8", "backslashreplace")
    start = item.entry.table_offset

    def make(i: int) -> Finding:
        index = int(places[i])
        value = int(raw[index])
        return Finding(
            code="bitmap.table",
            message=f'bitmap "{name}", table entry {index}: {value:#018x} {what}',
            offset=start + 8 * index,
            table=Table("bitmap_table", start),
            count=1,
            value=value,
        )

    facts.log.add_many("bitmap.table", len(places), make, count=len(places))
