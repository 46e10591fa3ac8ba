"""Fields of the header: written together, autoclear bits cleared, extensions mended or removed."""

from qcow2_dump.image.image import Image
from qcow2_dump.ondisk.constants import AutoclearFeature, ExtensionType
from qcow2_dump.ondisk.extension_records import (
    Extension,
    extensions_end,
    extensions_start,
    pack_extensions,
)
from qcow2_dump.ondisk.extensions import parse_extensions
from qcow2_dump.ondisk.header import FIELD_OFFSETS, HEADER_FIELDS
from qcow2_dump.plan.model import Field
from qcow2_dump.planners.draft import Draft, Stage

__all__ = [
    "HEADER",
    "clear_autoclear",
    "clear_bitmaps_bit",
    "clear_unknown_autoclear",
    "put_header_fields",
    "remove_extensions",
    "set_extension_length",
]

HEADER = Field("header", 0, unit_bits=0)
"""Bytes of the header: which fields they are follows from their file offsets."""

_WORD = 8
_LENGTH_OFFSET = 4
_WIDTHS = {field.name: field.width for field in HEADER_FIELDS}
# Rules that say that the extension area cannot be read to its end.
_CUT_OFF = frozenset({"extension-head", "extension-length"})


def put_header_fields(draft: Draft, stage: Stage, values: dict[str, int], reason: str) -> None:
    """Have some header fields written at once, with one write from the first to the last.

    What lies between them stays as it is by then. Raises KeyError for no field of the header.
    """
    start = min(FIELD_OFFSETS[name] for name in values)
    end = max(FIELD_OFFSETS[name] + _WIDTHS[name] for name in values)
    new, mask = bytearray(end - start), bytearray(end - start)
    for name, value in values.items():
        at, width = FIELD_OFFSETS[name] - start, _WIDTHS[name]
        new[at : at + width] = value.to_bytes(width, "big")
        mask[at : at + width] = b"\xff" * width
    draft.put(stage, start, bytes(new), HEADER, reason, mask=bytes(mask))


def clear_unknown_autoclear(draft: Draft, image: Image) -> None:
    """Have unknown autoclear bits cleared before anything is written, as the format demands."""
    clear_autoclear(draft, image, image.header.unknown_autoclear, "header.autoclear")


def clear_bitmaps_bit(draft: Draft, image: Image) -> None:
    """Have autoclear bit 0 cleared where no bitmaps extension goes with it.

    Not where extensions could not be read: one of them may be the missing one.
    """
    if any(rule.rule in _CUT_OFF for rule in image.extensions.problems):
        return
    if image.bitmaps_valid and image.extensions.last(ExtensionType.BITMAPS) is None:
        clear_autoclear(draft, image, int(AutoclearFeature.BITMAPS), "header.bitmaps-bit")


def clear_autoclear(draft: Draft, image: Image, bits: int, reason: str) -> None:
    """Have some autoclear bits cleared before anything else is done."""
    if not image.header.is_v3 or not image.header.autoclear_features & bits:
        return
    offset = FIELD_OFFSETS["autoclear_features"]
    mask = bits.to_bytes(_WORD, "big")
    draft.put(Stage.PREPARE, offset, bytes(_WORD), HEADER, reason, mask=mask)


def set_extension_length(
    draft: Draft, image: Image, extension: Extension, length: int, reason: str
) -> bool:
    """Have the length field of an extension say ``length`` bytes.

    Says whether it was done: only where all extensions can be told apart then, and none of those
    that can be now gets lost.
    """
    at = extension.offset + _LENGTH_OFFSET
    field = length.to_bytes(4, "big")
    cluster = image.header_cluster[:at] + field + image.header_cluster[at + len(field) :]
    area = parse_extensions(cluster, image.header)
    fewer = len(area.extensions) < len(image.extensions.extensions)
    if fewer or any(rule.rule in _CUT_OFF for rule in area.problems):
        return False
    draft.put(Stage.SWITCH, at, field, HEADER, reason)
    return True


def remove_extensions(draft: Draft, image: Image, kind: int, reason: str) -> bool:
    """Have all extensions of one type removed; those behind them move up.

    Says whether it was done: nothing is moved where the area cannot be read to its end.
    """
    area = image.extensions
    if any(rule.rule in _CUT_OFF for rule in area.problems):
        return False
    start = extensions_start(image.header)
    end = min(area.end, extensions_end(image.header))
    kept = pack_extensions(e for e in area.extensions if e.type != kind)
    # What is left of the area becomes zeros, which end the list as well.
    new = kept[: end - start].ljust(end - start, b"\0")
    draft.put(Stage.SWITCH, start, new, HEADER, reason)
    return True
