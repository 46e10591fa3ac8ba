"""Persistent bitmaps in a repair: marked when they do not hold any more, or given up."""

from collections.abc import Iterator

from qcow2_dump.checks.facts import CheckFacts
from qcow2_dump.checks.pass_bitmaps import bitmap_entries_beyond
from qcow2_dump.image.tables import BitmapDirectory
from qcow2_dump.ondisk.constants import AutoclearFeature, BitmapFlag, ExtensionType
from qcow2_dump.ondisk.extension_records import BITMAPS_LENGTH
from qcow2_dump.plan.model import Field
from qcow2_dump.planners.checked import Checked
from qcow2_dump.planners.draft import Draft, Stage
from qcow2_dump.planners.fields.header_fields import (
    clear_autoclear,
    remove_extensions,
    set_extension_length,
)

__all__ = ["drop_bitmaps", "mark_bitmaps_in_use", "mend_bitmap_tables"]

_FLAGS_OFFSET = 12
_ALL_ONES = (1).to_bytes(8, "big")
_IN_USE = int(BitmapFlag.IN_USE).to_bytes(4, "big")
# Flags of directory entries that lie close to each other are changed together, in bytes.
_PIECE = 1 << 16

# What makes QEMU refuse an image for the sake of its bitmaps.
_REFUSED = (
    "bitmap.extension",
    "bitmap.directory",
    "bitmap.table",
    "bitmap.extra-data-flag",
)

_STAYS = (
    "The bitmaps are given up, but their header extension has a wrong length and stays, because "
    "the extensions behind it cannot be told apart."
)


def mark_bitmaps_in_use(draft: Draft, found: Checked) -> None:
    """Have every valid bitmap marked as not saved, before anything else is written.

    For a change that lets the guest read something else; asking twice changes nothing more.
    """
    image = found.image
    directory = image.bitmap_directory if image.bitmaps_valid else None
    if directory is None or not directory.entries:
        return
    if not _is_alone(found.facts, directory):
        # The flags lie in what may be somebody's data. Not announced, the bitmaps are as invalid.
        clear_autoclear(draft, image, int(AutoclearFeature.BITMAPS), "bitmap.in-use")
        return
    start = directory.extension.directory_offset
    for first, mask in _pieces(directory):
        field = Field("bitmap_directory", start, unit_bits=0)
        draft.put(Stage.PREPARE, first, mask, field, "bitmap.in-use", mask=mask)


def mend_bitmap_tables(draft: Draft, found: Checked) -> None:
    """Have bitmap table entries that point past the end say that all of their range has changed.

    QEMU reads such a part as zeros, so that a backup would leave out what did change.
    """
    directory = found.image.bitmap_directory if found.image.bitmaps_valid else None
    if directory is None or not found.has("bitmap.beyond-end"):
        return
    counts, bits = found.facts.references.counts, found.facts.space.cluster_bits
    for places in bitmap_entries_beyond(found.facts, directory):
        for place in places[counts[places >> bits] == 1].tolist():
            field = Field("bitmap_table", place)
            draft.put(Stage.SWITCH, place, _ALL_ONES, field, "bitmap.all-ones")


def drop_bitmaps(draft: Draft, found: Checked) -> list[str]:
    """Have all bitmaps given up if any of them keeps QEMU from opening the image.

    They are no longer announced, so that nobody looks at them; their clusters are leaks. The
    extension stays where it can be read: it tells the next check that these leaks are waste.
    Returns sentences for people.
    """
    image = found.image
    if not found.has(*_REFUSED):
        return ["No bitmap keeps QEMU from opening the image, so all of them are kept."]
    clear_autoclear(draft, image, int(AutoclearFeature.BITMAPS), "bitmap.dropped")
    wrong = [
        extension
        for extension in image.extensions.extensions
        if extension.type == ExtensionType.BITMAPS and len(extension.data) != BITMAPS_LENGTH
    ]
    # QEMU refuses a wrong length even where it would not look at the extension otherwise.
    mended = not wrong or set_extension_length(
        draft, image, wrong[0], BITMAPS_LENGTH, "bitmap.dropped"
    )
    if not mended and not remove_extensions(draft, image, wrong[0].type, "bitmap.dropped"):
        return [_STAYS]
    directory = image.bitmap_directory if image.bitmaps_valid else None
    number = len(directory.entries) if directory else 0
    sound = "the sound ones as well" if number > 1 else "what it holds"
    note = (
        f"All bitmaps are given up ({number:,} can be read), {sound}: QEMU opens an image with "
        "all of its bitmaps or not at all. Incremental backups have to begin anew."
    )
    return [note]


def _pieces(directory: BitmapDirectory) -> Iterator[tuple[int, bytes]]:
    """The flags of all entries, by stretches of the file: ``(offset, in_use bit of each)``."""
    piece, first = bytearray(), 0
    for item in directory.entries:
        at = item.offset + _FLAGS_OFFSET
        if piece and at + len(_IN_USE) - first > _PIECE:
            yield first, bytes(piece)
            piece.clear()
        if not piece:
            first = at
        piece += bytes(at - first - len(piece)) + _IN_USE
    if piece:
        yield first, bytes(piece)


def _is_alone(facts: CheckFacts, directory: BitmapDirectory) -> bool:
    """Whether nothing else claims the clusters that the directory lies in."""
    start, size = directory.extension.directory_offset, directory.extension.directory_size
    if not size or facts.space.is_beyond(start, size) or start + size > facts.space.length:
        return False
    first, end = facts.space.span(start, size)
    return bool((facts.references.counts[first:end] == 1).all())
