"""The image as it will be: planners put changes into stages, and a plan is made of them.

The stages are the order of writes of the repair rules (section 2), so that a planner cannot get
it wrong. The image as drafted can be read and checked at any time.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import IntEnum
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from qcow2_dump.image.image import Image
from qcow2_dump.ondisk import arrays
from qcow2_dump.ondisk.constants import SECTOR_SIZE
from qcow2_dump.plan.model import Barrier, Field, Plan, Resize, Step, Write
from qcow2_dump.plan.overlay import OverlaySource
from qcow2_dump.plan.spool import Blob, Spool

__all__ = ["Draft", "Stage"]


class Stage(IntEnum):
    """When a change is made; the disk has all of a stage before the next one is begun."""

    PREPARE = 0
    """The file grows; unknown autoclear bits go."""
    CLEAR_COPIED = 1
    RAISE = 2
    """Refcounts that rise."""
    NEW = 3
    """Structures and copies of data that nothing points to yet."""
    SWITCH_REFCOUNTS = 4
    """Pointers to refcount blocks and to their table: what is switched next has its refcount."""
    SWITCH = 5
    """Pointers and mapping entries."""
    LOWER = 6
    """Refcounts that fall."""
    SET_COPIED = 7
    FLAGS = 8
    """The dirty and the corrupt flag."""


@dataclass(frozen=True, slots=True)
class _Put:
    offset: int
    new: Blob
    mask: Blob | None
    field: Field
    reason: str


class Draft:
    """Changes to an image that nobody has written yet.

    ``image`` is the image as found, ``overlay`` the source as it would be. ``spool`` is that of a
    plan which this one is going to continue.
    """

    def __init__(self, image: Image, title: str, spool: Spool | None = None) -> None:
        self.image = image
        self.title = title
        self.overlay = OverlaySource(image.source)
        self._spool = Spool() if spool is None else spool
        self._puts: dict[Stage, list[_Put]] = {stage: [] for stage in Stage}
        self._size: int | None = None
        self._built: list[Step] | None = None

    @property
    def is_empty(self) -> bool:
        """Whether nothing was put into it."""
        return self._size is None and not any(self._puts.values())

    @property
    def new_size(self) -> int:
        """The length of the file in bytes as drafted."""
        return self.image.source.size if self._size is None else self._size

    def put(
        self,
        stage: Stage,
        offset: int,
        new: bytes,
        field: Field,
        reason: str,
        *,
        mask: bytes | None = None,
    ) -> None:
        """Have some bytes written in a stage.

        Only the bits of ``mask`` are changed, where there is one: what an earlier stage makes of
        the others stays. Changes of one place are put in the order of their stages. The file
        grows where there is to be anything but zeros past its end.
        """
        held = None if mask is None else self._spool.put(mask)
        put = _Put(offset, self._spool.put(new), held, field, reason)
        self._puts[stage].append(put)
        self._built = None
        result = self._resulting(put, self.overlay)[1]
        self._grow_for(offset, result)
        self.overlay.put(offset, result.cut(0, max(0, min(result.length, self.new_size - offset))))

    def put_words(
        self,
        stage: Stage,
        offset: int,
        old: NDArray[np.uint64],
        new: NDArray[np.uint64],
        field: Field,
        reason: str,
    ) -> None:
        """Have some big-endian words written: only the bits in which they differ (uint64[n])."""
        changed = arrays.encode_u64(old ^ new)
        self.put(stage, offset, arrays.encode_u64(new), field, reason, mask=changed)

    def grow(self, size: int) -> None:
        """Have the file grow to so many bytes, before anything else is done."""
        if size > self.new_size:
            self._size = size
            self._built = None
            self.overlay.resize(size)

    def drafted(self) -> Image:
        """The image as it would be. Raises as `Image` does when nobody could read it."""
        return Image(self.overlay, self.image.resolver, leftovers=self.image.leftovers)

    def build(self) -> Plan:
        """The plan. It owns the bytes that were put into the draft."""
        if self._built is None:
            self._built = self._all_steps()
        return Plan(self.title, self.image.source.size, list(self._built), self._spool)

    def close(self) -> None:
        """Give up the bytes, and with them those of a plan that was built."""
        self._spool.close()

    def _all_steps(self) -> list[Step]:
        """The steps of all stages, with barriers between."""
        found: list[Step] = []
        running = OverlaySource(self.image.source)
        for stage in Stage:
            steps = list(self._steps(stage, running))
            if steps and found:
                found.append(Barrier())
            found += steps
        if found:
            found.append(Barrier())
        return found

    def _steps(self, stage: Stage, running: OverlaySource) -> Iterator[Step]:
        """The steps of one stage, each against the image as it is by then."""
        if stage is Stage.PREPARE and self._size is not None:
            yield Resize(self.image.source.size, self._size, "file.grow")
            running.resize(self._size)
        for put in _in_order(self._puts[stage]):
            write = self._write(put, running)
            if write is not None:
                running.put(write.offset, write.new)
                yield write

    def _grow_for(self, offset: int, result: Blob) -> None:
        """Have the file hold some bytes; zeros past its end are there without any room."""
        if offset + result.length > self.new_size:
            held = len(result.read().rstrip(b"\0"))
            if held and offset + held > self.new_size:
                # What is written are whole sectors.
                sector_end = -(-(offset + held) // SECTOR_SIZE) * SECTOR_SIZE
                self.grow(min(offset + result.length, sector_end))

    def _resulting(self, put: _Put, source: OverlaySource) -> tuple[bytes, Blob]:
        """The bytes at a place, and what a change makes of them."""
        old = source.read(put.offset, put.new.length)
        if put.mask is None:
            return old, put.new
        mask, new = (np.frombuffer(blob.read(), np.uint8) for blob in (put.mask, put.new))
        before = np.frombuffer(old, np.uint8)
        # Where the mask has a bit, the new one; elsewhere that of before.
        result = before ^ ((before ^ new) & mask)
        return old, self._spool.put(result.tobytes())

    def _write(self, put: _Put, running: OverlaySource) -> Write | None:
        old, new = self._resulting(put, running)
        result = new.read()
        if old == result:
            return None
        start, end = _changed_sectors(put.offset, old, result)
        end = min(end, self.new_size - put.offset)
        field = _moved(put.field, start)
        return Write(
            offset=put.offset + start,
            old=self._spool.put(old[start:end]),
            new=new.cut(start, end - start),
            field=field,
            reason=put.reason,
            count=_changed_units(field.unit_bits, old[start:end], result[start:end]),
        )


def _in_order(puts: list[_Put]) -> list[_Put]:
    """By where they are in the file; as they were put where one lies over another."""
    by_offset = sorted(puts, key=lambda put: put.offset)
    apart = all(one.offset + one.new.length <= other.offset for one, other in pairwise(by_offset))
    return by_offset if apart else puts


def _changed_sectors(offset: int, old: bytes, new: bytes) -> tuple[int, int]:
    """The stretch of whole sectors that holds all differences: start and end in the bytes."""
    before, after = np.frombuffer(old, np.uint8), np.frombuffer(new, np.uint8)
    differing = before != after
    first = offset + int(differing.argmax())
    last = offset + len(differing) - 1 - int(differing[::-1].argmax())
    start = max(offset, first // SECTOR_SIZE * SECTOR_SIZE)
    end = min(offset + len(old), (last // SECTOR_SIZE + 1) * SECTOR_SIZE)
    return start - offset, end - offset


def _moved(field: Field, start: int) -> Field:
    """The field of what lies ``start`` bytes further on."""
    if not field.unit_bits or not start:
        return field
    units = start * 8 // field.unit_bits
    guest = field.guest_offset
    return replace(
        field,
        first=field.first + units,
        guest_offset=None if guest is None else guest + units * field.guest_step,
    )


def _changed_units(unit_bits: int, old: bytes, new: bytes) -> int:
    """How many units differ; bytes without units are one."""
    if not unit_bits:
        return 1
    if unit_bits >= 8:
        size, word = unit_bits // 8, min(unit_bits // 8, 8)
        end = len(old) // size * size
        before, after = (np.frombuffer(data[:end], f"u{word}") for data in (old, new))
        differing = (before != after).reshape(-1, size // word).any(axis=1)
        # A unit may be cut off by the end of the file.
        return int(np.count_nonzero(differing)) + (old[end:] != new[end:])
    order = unit_bits.bit_length() - 1
    return int(
        np.count_nonzero(arrays.unpack_refcounts(old, order) != arrays.unpack_refcounts(new, order))
    )
