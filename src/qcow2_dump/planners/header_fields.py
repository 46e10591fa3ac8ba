"""What a repair mends in the header: the bit that announces bitmaps, and extensions."""

from qcow2_dump.image.image import Image
from qcow2_dump.ondisk.constants import AutoclearFeature, ExtensionType
from qcow2_dump.ondisk.extension_records import (
    Extension,
    extensions_end,
    extensions_start,
    pack_extensions,
)
from qcow2_dump.ondisk.extensions import parse_extensions
from qcow2_dump.planners.draft import Draft, Stage
from qcow2_dump.planners.header import HEADER, clear_autoclear

__all__ = [
    "clear_bitmaps_bit",
    "remove_extensions",
    "set_extension_length",
]

_LENGTH_OFFSET = 4
# Rules that say that the extension area cannot be read to its end.
_CUT_OFF = frozenset({"extension-head", "extension-length"})


def clear_bitmaps_bit(draft: Draft, image: Image) -> None:
    """Have autoclear bit 0 cleared where no bitmaps extension goes with it.

    Not where extensions could not be read: one of them may be the missing one.
    """
    if any(rule.rule in _CUT_OFF for rule in image.extensions.problems):
        return
    if image.bitmaps_valid and image.extensions.last(ExtensionType.BITMAPS) is None:
        clear_autoclear(draft, int(AutoclearFeature.BITMAPS), "header.bitmaps-bit")


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
