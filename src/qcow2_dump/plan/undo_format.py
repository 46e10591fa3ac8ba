"""The bytes of an undo file, packed and unpacked.

::

    0      head, 512 bytes: magic, version, state, lengths and checksums, finish mark
    512    metadata, JSON
    ...    the steps of the plan, each a record with a checksum, and the bytes that it sums up

The head is one sector, so that changing the state is one write that cannot be torn. Its SHA-256
covers itself and, through the digests in it, all that follows: that of the steps is made of their
records, and these have the checksums of the bytes. Numbers are big-endian. Nothing
read here is trusted: whatever does not fit raises JournalError.
"""

import hashlib
import json
import struct
import zlib
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, fields, replace
from enum import IntEnum
from typing import Any

import numpy as np

from qcow2_dump.errors import JournalError
from qcow2_dump.plan.model import Barrier, Field, Plan, Resize, Step, Write
from qcow2_dump.plan.patches import WORD, WordChanges, packed_length
from qcow2_dump.plan.spool import LONGEST_IN_PLACE, Blob, Spool

__all__ = [
    "HEAD_LENGTH",
    "LONGEST_METADATA",
    "MOST_GROUPS",
    "MOST_STEPS",
    "PIECE",
    "RECORD",
    "FinishMark",
    "Head",
    "Names",
    "StepHead",
    "UndoMetadata",
    "UndoState",
    "pack_metadata",
    "pack_step",
    "pieces",
    "unpack_metadata",
]

HEAD_LENGTH = 512
MAGIC = b"qcow2-dump undo\n"
_VERSION = 3
_HEAD = struct.Struct(">16sII16sQ32sQQ32sQ128s")
_SUM_AT = HEAD_LENGTH - 32

LONGEST_METADATA = 1 << 17
PIECE = LONGEST_IN_PLACE
"""Bytes of the longest write that one record holds."""

MOST_STEPS = 1 << 21
MOST_GROUPS = 1 << 12
"""Stretches between barriers: a repair has a dozen."""

_END_OF_FILES = 1 << 63
_LONGEST_DIGEST = 128


class UndoState(IntEnum):
    """How far a change has come."""

    PREPARING = 1
    """The undo file is being written, the image not yet."""
    READY = 2
    """The image may be in any state between before and after."""
    FINISHED = 3
    ROLLED_BACK = 4
    """The image is as it was before."""


@dataclass(frozen=True, slots=True)
class FinishMark:
    """The image as a finished change left it: its length in bytes, and the caller's digest."""

    size: int
    state_after: str


@dataclass(frozen=True, slots=True)
class Head:
    """The first sector. ``identity`` are 16 random bytes that a pointer file repeats."""

    state: UndoState
    identity: bytes
    metadata_length: int = 0
    metadata_sum: bytes = bytes(32)
    body_length: int = 0
    steps: int = 0
    body_sum: bytes = bytes(32)
    finish: FinishMark = FinishMark(0, "")

    @property
    def length(self) -> int:
        """Bytes of the whole undo file."""
        return HEAD_LENGTH + self.metadata_length + self.body_length

    def pack(self) -> bytes:
        """The sector. Raises ValueError for a digest that is not short ASCII."""
        digest = self.finish.state_after.encode("ascii")
        if len(digest) > _LONGEST_DIGEST:
            raise ValueError("the digest is too long")
        packed = _HEAD.pack(
            MAGIC,
            _VERSION,
            self.state,
            self.identity,
            self.metadata_length,
            self.metadata_sum,
            self.body_length,
            self.steps,
            self.body_sum,
            self.finish.size,
            digest,
        ).ljust(_SUM_AT, b"\0")
        return packed + hashlib.sha256(packed).digest()

    @classmethod
    def unpack(cls, sector: bytes) -> "Head":
        """Read the sector. One that never reached the disk is `PREPARING`."""
        if not any(sector):
            # Empty or zeros: a machine that died before the undo file was complete.
            return cls(UndoState.PREPARING, bytes(16))
        if sector[: len(MAGIC)] != MAGIC[: len(sector)]:
            raise JournalError("not an undo file")
        if len(sector) < HEAD_LENGTH:
            raise JournalError("truncated: it ends within its head")
        if hashlib.sha256(sector[:_SUM_AT]).digest() != sector[_SUM_AT:]:
            raise JournalError("altered: the checksum of its head is wrong")
        (
            _,
            version,
            state,
            identity,
            metadata_length,
            metadata_sum,
            body_length,
            steps,
            body_sum,
            size,
            digest,
        ) = _HEAD.unpack_from(sector)
        if version != _VERSION:
            raise JournalError(f"version {version} of the format is unknown")
        try:
            mark = FinishMark(size, digest.rstrip(b"\0").decode("ascii"))
            known = UndoState(state)
        except ValueError as error:
            raise JournalError("altered: its head makes no sense") from error
        if metadata_length > LONGEST_METADATA or steps > MOST_STEPS:
            raise JournalError("altered: its head makes no sense")
        return cls(
            state=known,
            identity=identity,
            metadata_length=metadata_length,
            metadata_sum=metadata_sum,
            body_length=body_length,
            steps=steps,
            body_sum=body_sum,
            finish=mark,
        )


@dataclass(frozen=True, slots=True)
class UndoMetadata:
    """What a change was for. Sizes in bytes; ``replaced`` are byte ranges ``(start, end)``.

    ``image`` is the base name of the image, ``state_before`` the caller's digest of it as it was,
    ``extra`` whatever else the caller wants to know again. None of it is trusted.
    """

    title: str
    image: str
    tool_version: str
    date: str
    size_before: int
    size_after: int
    state_before: str
    replaced: tuple[tuple[int, int], ...] = ()
    extra: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Names:
    """The words that records refer to by number: kinds of fields, and reasons."""

    kinds: tuple[str, ...]
    reasons: tuple[str, ...]

    @classmethod
    def of(cls, plan: Plan) -> "Names":
        """All that a plan uses."""
        kinds = {write.field.kind for write in plan.writes()}
        reasons = {step.reason for step in plan.steps if not isinstance(step, Barrier)}
        return cls(tuple(sorted(kinds)), tuple(sorted(reasons)))


def pack_metadata(metadata: UndoMetadata, names: Names) -> bytes:
    """The metadata as JSON; of too many ``replaced`` ranges the first.

    Raises JournalError when it is too long without any.
    """
    kept = metadata
    while True:
        packed = json.dumps({"change": asdict(kept), "names": asdict(names)}).encode()
        if len(packed) <= LONGEST_METADATA:
            return packed
        if not kept.replaced:
            raise JournalError("too much to say about one change")
        kept = replace(kept, replaced=kept.replaced[: len(kept.replaced) // 2])


def unpack_metadata(packed: bytes) -> tuple[UndoMetadata, Names]:
    """Read the JSON again, every value looked at."""
    try:
        document = json.loads(packed)
        change, names = document["change"], document["names"]
        ranges = tuple((start, end) for start, end in change["replaced"])
        metadata = UndoMetadata(**{**change, "replaced": ranges})
        known = Names(tuple(names["kinds"]), tuple(names["reasons"]))
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise JournalError("altered: its metadata cannot be read") from error
    texts = [getattr(metadata, name.name) for name in fields(metadata) if name.type in ("str", str)]
    sizes = [metadata.size_before, metadata.size_after, *(at for pair in ranges for at in pair)]
    if (
        not all(isinstance(text, str) for text in (*texts, *known.kinds, *known.reasons))
        or not all(type(size) is int and 0 <= size < _END_OF_FILES for size in sizes)
        or not isinstance(metadata.extra, dict)
    ):
        raise JournalError("altered: its metadata makes no sense")
    return metadata, known


RECORD = struct.Struct(">BBHHHIIIIQQQQQQI")
"""Kind, which bytes are zeros, field kind, reason, bits of a unit, length, words, CRC-32 before
and after, offset, table, first unit, guest offset, guest step, count, CRC-32 of what comes before
and of the bytes that follow.

Without ``words``, the old bytes follow and then the new ones, zeros left out. With it, so many
words of 8 bytes change in their place, and all others stay: the numbers of these words (4 bytes
each, ascending), the old and the new ones follow, little-endian; then the two CRC-32 are those of
all bytes of the place."""

_BEFORE_SUM = RECORD.size - 4
_WRITE, _RESIZE, _BARRIER = 1, 2, 3
_OLD_ZEROS, _NEW_ZEROS = 1, 2
_NO_GUEST = (1 << 64) - 1


def pieces(step: Step) -> list[Step]:
    """A step as records can hold it: a long write in several."""
    if not isinstance(step, Write) or step.length <= PIECE:
        return [step]
    return [_piece(step, start) for start in range(0, step.length, PIECE)]


def _piece(write: Write, start: int) -> Write:
    length = min(PIECE, write.length - start)
    what = write.field
    units = start * 8 // what.unit_bits if what.unit_bits else 0
    guest = what.guest_offset
    moved = Field(
        what.kind,
        what.table,
        what.unit_bits,
        what.first + units,
        None if guest is None else guest + units * what.guest_step,
        what.guest_step,
    )
    old, new = write.old.cut(start, length), write.new.cut(start, length)
    # All changes are counted with the first piece, so that their sum stays right.
    count = 0 if start else write.count
    return Write(write.offset + start, old, new, moved, write.reason, count)


def pack_step(step: Step, names: Names) -> list[bytes]:
    """The record of a step as `pieces` gives it: what has its checksum, and its bytes in parts."""
    if isinstance(step, Barrier):
        return _record(_BARRIER, *[0] * 14)
    reason = names.reasons.index(step.reason)
    if isinstance(step, Resize):
        return _record(_RESIZE, 0, 0, reason, *[0] * 5, step.old, step.new, 0, 0, 0, 0)
    old, new = step.old, step.new
    zeros = old.is_zeros * _OLD_ZEROS | new.is_zeros * _NEW_ZEROS
    if new.in_place:
        words, packed = new.packed_words()
        payload = [packed]
    else:
        words, payload = 0, [blob.read() for blob in (old, new) if not blob.is_zeros]
    what = step.field
    guest = _NO_GUEST if what.guest_offset is None else what.guest_offset
    shown = (number & _NO_GUEST for number in (what.table, what.first, guest, what.guest_step))
    return _record(
        _WRITE,
        zeros,
        names.kinds.index(what.kind),
        reason,
        what.unit_bits,
        step.length,
        words,
        old.checksum or 0,
        new.checksum or 0,
        step.offset,
        *shown,
        step.count & _NO_GUEST,
        payload=payload,
    )


def _record(*numbers: int, payload: Iterable[bytes] = ()) -> list[bytes]:
    packed = RECORD.pack(*numbers, 0)[:_BEFORE_SUM]
    summed = zlib.crc32(packed)
    for part in payload:
        summed = zlib.crc32(part, summed)
    return [packed + struct.pack(">I", summed), *payload]


@dataclass(frozen=True, slots=True)
class StepHead:
    """A record without its bytes; ``payload_length`` of them follow, the old before the new."""

    packed: bytes
    numbers: tuple[int, ...]
    payload_length: int

    @classmethod
    def unpack(cls, packed: bytes) -> "StepHead":
        """Read what stands before the bytes."""
        numbers = RECORD.unpack(packed)
        kind, zeros, length, words = *numbers[:2], *numbers[5:7]
        if kind not in (_WRITE, _RESIZE, _BARRIER) or length > PIECE or zeros > 3:
            raise JournalError("altered: a step makes no sense")
        if not words:
            kept = (not zeros & _OLD_ZEROS) + (not zeros & _NEW_ZEROS)
            return cls(packed, numbers, kept * length)
        if words > length // WORD or length % WORD or zeros:
            raise JournalError("altered: a step makes no sense")
        return cls(packed, numbers, packed_length(words))

    def step(self, payload: bytes, names: Names, spool: Spool) -> Step:
        """The step, with its bytes put aside."""
        summed = zlib.crc32(payload, zlib.crc32(self.packed[:_BEFORE_SUM]))
        kind, _, what, why, bits, length = self.numbers[:6]
        offset, table, first, guest, each, count, crc = self.numbers[9:]
        if summed != crc or len(payload) != self.payload_length:
            raise JournalError("altered: the checksum of a step is wrong")
        if kind == _BARRIER:
            return Barrier()
        try:
            reason = names.reasons[why]
            if kind == _RESIZE:
                return Resize(_file_offset(offset), _file_offset(table), reason)
            where = Field(
                names.kinds[what], table, bits, first, None if guest == _NO_GUEST else guest, each
            )
        except IndexError as error:
            raise JournalError("altered: a step makes no sense") from error
        _file_offset(offset + length)
        return Write(offset, *self._blobs(payload, spool), where, reason, count)

    def _blobs(self, payload: bytes, spool: Spool) -> tuple[Blob, Blob]:
        """The old bytes and the new ones."""
        zeros, (length, words, *sums) = self.numbers[1], self.numbers[5:9]
        if not words:
            middle = 0 if zeros & _OLD_ZEROS else length
            old = spool.put(payload[:middle]) if middle else Blob.zeros(length)
            return old, Blob.zeros(length) if zeros & _NEW_ZEROS else spool.put(payload[middle:])
        changes = WordChanges.unpack(payload)
        if int(changes.at[-1]) >= length // WORD or (np.diff(changes.at) <= 0).any():
            raise JournalError("altered: a step makes no sense")
        return spool.put_words(length, changes, (sums[0], sums[1]))


def _file_offset(offset: int) -> int:
    if offset >= _END_OF_FILES:
        raise JournalError("altered: a step lies past the end of any file")
    return offset
