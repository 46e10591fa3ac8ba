"""The changes that a plan makes, one by one: which field, what it holds, what it will hold.

A write is a stretch of bytes; what its units are is told by its `Field`. They are decoded as they
are asked for, so that a plan of millions of changes costs what is shown of it.
"""

from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

from qcow2_dump.image.image import Image
from qcow2_dump.ondisk.header import HEADER_FIELDS, PADDING_OFFSET
from qcow2_dump.ondisk.mapping import L2_OFFSET_MASK, REFCOUNT_TABLE_OFFSET_MASK, EntryFlag
from qcow2_dump.ondisk.refcounts import get_refcount
from qcow2_dump.plan.model import Field, Plan, Resize, Write
from qcow2_dump.report.block_numbers import BlockNumbers
from qcow2_dump.report.escape import printable

__all__ = ["Change", "changes", "counted_reasons"]

Value = int | bytes

# Bytes of a write that are looked at together; whole units of any width fit.
_PIECE = 1 << 16
# Bytes without a meaning of their own that a change shows.
_SHOWN_BYTES = 16
# What else an undo file may claim is shown as bytes.
_UNIT_BITS = frozenset({1, 2, 4, 8, 16, 32, 64, 128})


class Change(NamedTuple):
    """One change. ``offset`` and ``length`` are bytes of the file that hold the field.

    ``name`` is that of a header field, ``unit`` the number of an entry in the structure of
    ``kind`` at file offset ``table``, and ``cluster`` the host cluster that a refcount counts,
    where that is known. ``old`` and ``new`` are integers, or bytes where the field is none: of
    those at most the first 16.
    """

    reason: str
    kind: str
    table: int
    offset: int
    length: int
    old: Value
    new: Value
    name: str | None = None
    unit: int | None = None
    guest_offset: int | None = None
    guest_length: int | None = None
    cluster: int | None = None

    @property
    def place(self) -> str:
        """Which field it is, in words."""
        if self.kind == "file":
            return "length of the file"
        if self.name is not None:
            return f"{self.name} (file offset {self.offset:#x})"
        if self.unit is None:
            return f"{_kind(self.kind)}: {self.length:,} bytes at file offset {self.offset:#x}"
        if self.cluster is not None:
            return f"refcount of cluster {self.cluster:,} (file offset {self.offset:#x})"
        guest = "" if self.guest_offset is None else f", guest {self.guest_offset:#x}"
        table = f"{_kind(self.kind)} {self.table:#x}"
        return f"{table}, entry {self.unit:,} (file offset {self.offset:#x}{guest})"

    @property
    def step(self) -> str:
        """What it holds and what it will hold, in words."""
        if isinstance(self.old, bytes) or isinstance(self.new, bytes):
            return f"{_bytes(self.old, self.length)} -> {_bytes(self.new, self.length)}"
        if self.kind == "file":
            return f"{self.old:,} -> {self.new:,} bytes"
        if self.kind == "refcount_block" or self.name in _COUNTS:
            return f"{self.old} -> {self.new}"
        return f"{self.old:#x} -> {self.new:#x}{_meaning(self.kind, self.new)}"


_KINDS = {
    "l1": "L1 table",
    "l2": "L2 table",
    "refcount_table": "refcount table",
    "refcount_block": "refcount block",
    "snapshot_table": "snapshot table",
    "bitmap_directory": "bitmap directory",
    "bitmap_table": "bitmap table",
    "header": "header",
    "data": "data",
}
_COUNTS = frozenset(
    {"l1_size", "nb_snapshots", "refcount_table_clusters", "size", "backing_file_size"}
)


def changes(
    plan: Plan,
    image: Image | None = None,
    *,
    limit: int | None = None,
    per_reason: int | None = None,
) -> Iterator[Change]:
    """The changes of a plan in the order in which they are made.

    ``image`` is the image that the plan is for, None where it is none. At most ``limit`` in all
    and ``per_reason`` of one reason; None for all.
    """
    numbers: BlockNumbers | None = None
    told: Counter[str] = Counter()
    for step in plan.steps:
        if not isinstance(step, Write | Resize):
            continue
        if per_reason is not None and told[step.reason] >= per_reason:
            continue
        for change in _of_step(step):
            if limit is not None and told.total() >= limit:
                return
            if change.kind == "refcount_block" and change.unit is not None:
                numbers = numbers or BlockNumbers(image, plan)
                first = numbers.first_cluster(change.table)
                if first is not None:
                    change = change._replace(cluster=first + change.unit)  # noqa: PLW2901
            yield change
            told[step.reason] += 1
            if told[step.reason] == per_reason:
                break


def counted_reasons(plan: Plan) -> Counter[str]:
    """How many changes `changes` tells of for each reason, in the order of their first."""
    counted: Counter[str] = Counter()
    for step in plan.steps:
        if isinstance(step, Write):
            # A write of the header counts once, and changes some fields.
            inside = sum(1 for _ in _of_header(step)) if _is_header(step.field) else step.count
            counted[step.reason] += inside
        elif isinstance(step, Resize):
            counted[step.reason] += 1
    return counted


def _of_step(step: Write | Resize) -> Iterator[Change]:
    if isinstance(step, Resize):
        yield Change(step.reason, "file", 0, 0, 0, step.old, step.new)
    elif _is_header(step.field):
        yield from _of_header(step)
    elif step.field.unit_bits not in _UNIT_BITS:
        old, new = step.old.read(0, _SHOWN_BYTES), step.new.read(0, _SHOWN_BYTES)
        field = step.field
        yield Change(step.reason, field.kind, field.table, step.offset, step.length, old, new)
    else:
        yield from _of_units(step)


def _of_units(write: Write) -> Iterator[Change]:
    """The units of a row that differ."""
    field, bits = write.field, write.field.unit_bits
    for start in range(0, write.length, _PIECE):
        old, new = _told(write, start, min(_PIECE, write.length - start))
        for unit in _differing(old, new, bits):
            at = start * 8 // bits + unit
            guest = field.guest_offset
            yield Change(
                reason=write.reason,
                kind=field.kind,
                table=field.table,
                offset=write.offset + start + unit * bits // 8,
                length=max(1, bits // 8),
                old=_unit(old, unit, bits),
                new=_unit(new, unit, bits),
                unit=field.first + at,
                guest_offset=None if guest is None else guest + at * field.guest_step,
                guest_length=None if guest is None else field.guest_step,
            )


def _told(write: Write, start: int, length: int) -> tuple[bytes, bytes]:
    """The old and the new bytes of a write; those that were not put aside do not differ."""
    same = bytes(length)
    return bytes(write.old.over(same, start)), bytes(write.new.over(same, start))


def _differing(old: bytes, new: bytes, bits: int) -> Iterator[int]:
    """The numbers of the units that differ."""
    if bits < 8:
        per_byte = 8 // bits
        for byte in _differing(old, new, 8):
            for unit in range(byte * per_byte, (byte + 1) * per_byte):
                if _unit(old, unit, bits) != _unit(new, unit, bits):
                    yield unit
        return
    import numpy as np

    width = bits // 8
    whole = len(old) // width * width
    unequal = np.frombuffer(old[:whole], np.uint8) != np.frombuffer(new[:whole], np.uint8)
    yield from np.flatnonzero(unequal.reshape(-1, width).any(axis=1)).tolist()


def _unit(data: bytes, unit: int, bits: int) -> int:
    if bits < 8:
        return get_refcount(data, unit, bits.bit_length() - 1)
    width = bits // 8
    return int.from_bytes(data[unit * width : (unit + 1) * width], "big")


def _is_header(field: Field) -> bool:
    return field.kind == "header"


def _of_header(write: Write) -> Iterator[Change]:
    """The header fields that differ, and what else of the header cluster does."""
    old, new = _told(write, 0, write.length)
    for field in HEADER_FIELDS:
        start = field.offset - write.offset
        end = start + field.width
        if start < 0 or end > len(old) or old[start:end] == new[start:end]:
            continue
        before, after = int.from_bytes(old[start:end], "big"), int.from_bytes(new[start:end], "big")
        yield Change(
            write.reason, "header", 0, field.offset, field.width, before, after, name=field.name
        )
    rest = max(0, PADDING_OFFSET - write.offset)
    before_rest, after_rest = old[rest:], new[rest:]
    if before_rest != after_rest:
        pairs = zip(before_rest, after_rest, strict=True)
        first = next(at for at, (one, other) in enumerate(pairs) if one != other)
        length = len(before_rest) - first
        yield Change(
            write.reason,
            "header",
            0,
            write.offset + rest + first,
            length,
            before_rest[first : first + _SHOWN_BYTES],
            after_rest[first : first + _SHOWN_BYTES],
        )


def _meaning(kind: str, raw: int) -> str:
    """What a mapping entry says, in brackets."""
    if kind not in ("l1", "l2", "refcount_table"):
        return ""
    if kind == "l2" and raw >> 64:
        raw >>= 64  # an extended entry: the subcluster bitmap follows its first word
    if kind == "refcount_table":
        offset = raw & REFCOUNT_TABLE_OFFSET_MASK
        return f" (offset {offset:#x})" if offset else " (none)"
    if raw & EntryFlag.COMPRESSED and kind == "l2":
        return " (compressed)"
    words = [f"offset {raw & L2_OFFSET_MASK:#x}"] if raw & L2_OFFSET_MASK else []
    words += ["COPIED"] if raw & EntryFlag.COPIED else []
    words += ["reads as zeros"] if kind == "l2" and raw & EntryFlag.ZERO else []
    return f" ({', '.join(words) or 'unallocated'})"


def _bytes(value: Value, length: int) -> str:
    """Bytes without a meaning, at most the first of them."""
    if isinstance(value, int):
        return f"{value:#x}"
    if not any(value):
        return "zeros"
    shown = value.hex(" ")
    return f"{shown} ..." if length > len(value) else shown


def _kind(kind: str) -> str:
    """What a structure is called; of an undo file, this may be any text."""
    return _KINDS.get(kind) or printable(kind.replace("_", " "), 40)
