"""Changes of single header fields, which every planner needs."""

from qcow2_dump.ondisk.header import FIELD_OFFSETS, HEADER_FIELDS
from qcow2_dump.plan.model import Field
from qcow2_dump.planners.draft import Draft, Stage

__all__ = ["HEADER", "clear_autoclear", "clear_unknown_autoclear", "put_header_fields"]

HEADER = Field("header", 0, unit_bits=0)
"""Bytes of the header: which fields they are follows from their file offsets."""

_WIDTHS = {field.name: field.width for field in HEADER_FIELDS}


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


def clear_unknown_autoclear(draft: Draft) -> None:
    """Clear the autoclear bits that nobody here knows, before anything else (format 1.2).

    They promise something that a writer who does not know it would break. Bits that are known,
    and an image without such a word, stay as they are.
    """
    clear_autoclear(draft, draft.image.header.unknown_autoclear, "header.autoclear")


def clear_autoclear(draft: Draft, bits: int, reason: str) -> None:
    """Clear some autoclear bits before anything else is done; all others stay as they are."""
    header = draft.image.header
    if header.is_v3 and header.autoclear_features & bits:
        offset, width = FIELD_OFFSETS["autoclear_features"], _WIDTHS["autoclear_features"]
        mask = bits.to_bytes(width, "big")
        draft.put(Stage.PREPARE, offset, bytes(width), HEADER, reason, mask=mask)
