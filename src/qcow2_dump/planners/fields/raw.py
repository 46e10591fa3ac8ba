"""Changes of bytes at file offsets, whatever they mean: also where a file is no image any more."""

from qcow2_dump.errors import RequestError
from qcow2_dump.ondisk.constants import KNOWN_AUTOCLEAR, MAGIC, MAX_CLUSTER_BITS, MIN_CLUSTER_BITS
from qcow2_dump.ondisk.header import FIELD_OFFSETS, HEADER_FIELDS
from qcow2_dump.plan.model import Barrier, Field, Plan, Write
from qcow2_dump.planners.fields.header_fields import HEADER
from qcow2_dump.planners.proposal import Proposal
from qcow2_dump.storage.base import ByteSource

__all__ = ["plan_copy", "plan_edit", "read_integer"]

_USUAL_CLUSTER_BITS = 16
_LONGEST_HEADER_FIELDS = 112


def read_integer(source: ByteSource, offset: int, width: int) -> int:
    """The big-endian integer of ``width`` bytes at a file offset.

    Raises RequestError where it does not lie inside the file, SourceError when it cannot be read.
    """
    _refuse_outside(source, "the value", offset, width)
    return int.from_bytes(source.read(offset, width), "big")


def plan_edit(source: ByteSource, offset: int, value: int, width: int) -> Proposal:
    """Store a big-endian integer of ``width`` bytes at a file offset; nothing else is changed.

    Raises RequestError for a value that does not fit, and as `read_integer` does.
    """
    if not 0 <= value < 1 << (8 * width):
        raise RequestError(f"the value {value:#x} does not fit into {width} bytes")
    read_integer(source, offset, width)
    field = Field("bytes", offset, unit_bits=0)
    if _is_header_field(source, offset, width):
        field = HEADER
    return _proposed(source, offset, value.to_bytes(width, "big"), field, "edit")


def plan_copy(
    source: ByteSource,
    other: ByteSource | None,
    from_offset: int,
    to_offset: int,
    length: int,
) -> Proposal:
    """Copy ``length`` bytes to a file offset, from another one or from an ``other`` source.

    At most one cluster: of 64 KiB where the header does not say. The ranges may overlap: what is
    written is what was there before. Raises RequestError for more than that, or for a range that
    does not lie inside its file; SourceError when it cannot be read.
    """
    cluster_size = 1 << _cluster_bits(source)
    if not 0 < length <= cluster_size:
        raise RequestError(
            f"the length is {length:,} bytes, must be 1 up to one cluster ({cluster_size:,})"
        )
    origin = source if other is None else other
    _refuse_outside(origin, "what is to be copied", from_offset, length)
    _refuse_outside(source, "the place to copy to", to_offset, length)
    new = origin.read(from_offset, length)
    return _proposed(source, to_offset, new, Field("bytes", to_offset, unit_bits=0), "copy")


def _proposed(source: ByteSource, offset: int, new: bytes, field: Field, reason: str) -> Proposal:
    """A plan of one write, or of none where the bytes are the same already."""
    plan = Plan(reason, source.size)
    old = source.read(offset, len(new))
    if old == new:
        return Proposal(plan, ["These bytes are there already: there is nothing to do."])
    held, wanted = plan.spool.put(old), plan.spool.put(new)
    plan.steps += [Write(offset, held, wanted, field, reason, 1), Barrier()]
    return Proposal(plan, _autoclear_notes(source))


def _refuse_outside(source: ByteSource, what: str, offset: int, length: int) -> None:
    if offset < 0 or offset + length > source.size:
        raise RequestError(
            f"{what} is {length:,} byte{'s' * (length > 1)} at {offset:#x}, "
            f"past the end of {source.name} at {source.size:#x}"
        )


def _header_integer(source: ByteSource, name: str) -> int:
    field = next(field for field in HEADER_FIELDS if field.name == name)
    return int.from_bytes(source.read(field.offset, field.width), "big")


def _cluster_bits(source: ByteSource) -> int:
    """The cluster size of a qcow2 image as a power of two; the usual one of anything else."""
    bits = _header_integer(source, "cluster_bits")
    if _header_integer(source, "magic") == MAGIC and MIN_CLUSTER_BITS <= bits <= MAX_CLUSTER_BITS:
        return bits
    return _USUAL_CLUSTER_BITS


def _is_header_field(source: ByteSource, offset: int, width: int) -> bool:
    """Whether a place is exactly that of a header field, as far as the version has it."""
    if offset >= _LONGEST_HEADER_FIELDS:
        return False
    version = _header_integer(source, "version")
    return any(
        field.offset == offset and field.width == width and (field.since == 2 or version >= 3)
        for field in HEADER_FIELDS
    )


def _autoclear_notes(source: ByteSource) -> list[str]:
    """Bytes are changed as asked for and no others: say so where something else should be."""
    if _header_integer(source, "magic") != MAGIC or _header_integer(source, "version") < 3:
        return []
    unknown = _header_integer(source, "autoclear_features") & ~KNOWN_AUTOCLEAR
    if not unknown:
        return []
    place = FIELD_OFFSETS["autoclear_features"]
    what = f"The image has unknown autoclear bits ({unknown:#x} at file offset {place}), "
    return [what + "which a program that changes it should clear."]
