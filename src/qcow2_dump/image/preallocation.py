"""How an image was preallocated, as far as its tables show it; needs no numpy."""

import struct
from collections.abc import Iterator
from typing import Literal, NamedTuple

from qcow2_dump.errors import SourceError
from qcow2_dump.image.image import Image
from qcow2_dump.ondisk.constants import MAX_READABLE_OFFSET

__all__ = ["Preallocation", "preallocation"]

TABLE_BUDGET = 32 << 20
"""Bytes of L2 tables that are read at most: 256 GiB of disk in clusters of 64 KiB."""

_L1_STEP = 8192


class Preallocation(NamedTuple):
    """``mode`` is None when it cannot be told, and ``reason`` then says why."""

    mode: Literal["off", "metadata", "full"] | None
    reason: str | None = None


def preallocation(image: Image, bytes_on_disk: int | None) -> Preallocation:
    """The preallocation mode of the active layer.

    Off when any L1 or L2 entry within the virtual size is unused, where an entry without a
    host cluster counts as unused also when it reads as zeros; else metadata when fewer bytes
    than the virtual size are on disk; else full. The tables are read up to the first unused
    entry, and no further than `TABLE_BUDGET`. Raises nothing.
    """
    try:
        verdict = _first_gap(image)
    except SourceError as error:
        return Preallocation(None, str(error))
    if verdict is not None:
        return verdict
    if bytes_on_disk is None:
        return Preallocation(None, "how much is on disk is not known")
    return Preallocation("metadata" if bytes_on_disk < image.header.size else "full")


def _first_gap(image: Image) -> Preallocation | None:
    """Off at the first unused entry, or why the search ended early; None when all are used."""
    header, geometry = image.header, image.geometry
    needed = header.vm_state_l1_index
    if not needed or header.l1_size < needed:
        return Preallocation("off")
    if not geometry.is_aligned(header.l1_table_offset):
        return Preallocation(None, "the L1 table is not where it can be read")
    # The whole L1 first: it is small, and a disk that is not full mostly shows it there.
    if not all(map(all, _l1_parts(image, needed))):
        return Preallocation("off")
    from qcow2_dump.ondisk.mapping import L1_OFFSET_MASK

    for l1 in _l1_parts(image, needed):
        if not all(map(L1_OFFSET_MASK.__and__, l1)):
            return Preallocation("off")
    left = TABLE_BUDGET
    guest = 0
    for l1 in _l1_parts(image, needed):
        for raw in l1:
            if left < geometry.cluster_size:
                return Preallocation(None, "its tables are too large to be read in passing")
            offset = raw & L1_OFFSET_MASK
            if not geometry.is_aligned(offset):
                return Preallocation(None, f"the L2 table at {offset:#x} is not aligned")
            inside = min(geometry.clusters(header.size - guest), geometry.l2_entries)
            if not _is_full(image, offset, inside):
                return Preallocation("off")
            left -= geometry.cluster_size
            guest += geometry.l1_span
    return None


def _l1_parts(image: Image, needed: int) -> Iterator[tuple[int, ...]]:
    """The L1 entries within the virtual size, some thousands at a time."""
    for start in range(0, needed, _L1_STEP):
        yield _words(image, image.header.l1_table_offset + 8 * start, min(_L1_STEP, needed - start))


def _is_full(image: Image, offset: int, entries: int) -> bool:
    """Whether the first entries of an L2 table all have a host cluster."""
    from qcow2_dump.ondisk.mapping import L2_OFFSET_MASK, EntryFlag

    words = _words(image, offset, entries * image.geometry.l2_entry_size // 8)
    mask = L2_OFFSET_MASK | int(EntryFlag.COMPRESSED)
    if image.header.has_data_file:
        # Offset 0 is a real place there, and COPIED says so.
        mask |= int(EntryFlag.COPIED)
    first_words = words[::2] if image.header.extended_l2 else words
    return all(map(mask.__and__, first_words))


def _words(image: Image, offset: int, count: int) -> tuple[int, ...]:
    """Big-endian words of 8 bytes; zeros where QEMU reads nothing."""
    if offset > MAX_READABLE_OFFSET:
        return (0,) * count
    return struct.unpack(f">{count}Q", image.source.read(offset, 8 * count))
