"""The image as it will be: planners put changes into stages, and a plan is made of them.

The stages are the order of writes of the repair rules (section 2), so that a planner cannot get
it wrong. The image as drafted can be read and checked at any time.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from enum import IntEnum
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from qcow2_dump.image.image import Image
from qcow2_dump.ondisk.constants import SECTOR_SIZE
from qcow2_dump.plan.model import Barrier, Field, Plan, Resize, Step, Write
from qcow2_dump.plan.overlay import OverlaySource
from qcow2_dump.plan.patches import WORD, WordChanges
from qcow2_dump.plan.spool import Blob, Spool
from qcow2_dump.plan.target import Readable
from qcow2_dump.planners.difference import Change, change_of

__all__ = ["Draft", "Stage", "Words"]


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


@dataclass(slots=True, eq=False)
class _Put:
    """What was put where, as the ``number``th.

    Only the bits of ``new`` that differ from ``over`` are put, all of them where that is None.
    ``change`` is what it made of all that had been put before, None for nothing; ``field`` is that
    of the whole place.
    """

    number: int
    stage: Stage
    offset: int
    new: Blob
    over: Blob | None
    field: Field
    reason: str
    change: Change | None

    @property
    def end(self) -> int:
        """File offset behind the last byte."""
        return self.offset + self.new.length


@dataclass(frozen=True, slots=True)
class Words:
    """Bits of a few among ``length`` big-endian words that follow each other in the file.

    ``at`` are the numbers of these words, ascending (int64[n]); ``mask`` says which of their bits
    are changed, one at least, and ``new`` has these bits as they shall be, and no others
    (uint64[n]).
    """

    length: int
    at: NDArray[np.int64]
    mask: NDArray[np.uint64]
    new: NDArray[np.uint64]

    def part(self, first: int, end: int) -> "Words":
        """Those of the words from ``first`` to ``end``, not included."""
        low, high = np.searchsorted(self.at, (first, end)).tolist()
        end = min(end, self.length)
        return Words(
            end - first, self.at[low:high] - first, self.mask[low:high], self.new[low:high]
        )


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
        # Words that change stay where they are; behind the end of the file there is no such place.
        self._end = _real_size(image.source)
        self._puts: dict[Stage, list[_Put]] = {stage: [] for stage in Stage}
        self._number = 0
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
        before = self.overlay.read(offset, len(new))
        if mask is None:
            change = self._change(offset, field, before, new)
            wanted = None if change is None or change.new.in_place else change.new
            if wanted is None or wanted.length < len(new):
                wanted = self._spool.put(new)
            self._add(stage, offset, (wanted, None), field, reason, change)
            return
        other = (np.frombuffer(new, np.uint8) ^ np.frombuffer(mask, np.uint8)).tobytes()
        after = _changed_bits(before, new, other)
        change = self._change(offset, field, before, after)
        wanted, over = self._spool.put(new), self._spool.put(other)
        self._add(stage, offset, (wanted, over), field, reason, change)

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
        differing = old ^ new
        at = np.flatnonzero(differing)
        words = Words(len(new), at, differing[at], new[at] & differing[at])
        self.put_bits(stage, offset, words, field, reason)

    def put_bits(
        self, stage: Stage, offset: int, words: "Words", field: Field, reason: str
    ) -> None:
        """Have some bits of a few among many big-endian words changed."""
        if not len(words.at):
            return
        before = self.overlay.read(offset, words.length * WORD)
        # As they lie in the file.
        bits, new = words.mask.byteswap(), words.new.byteswap()
        was = np.frombuffer(before, "<u8").take(words.at)
        flips = (was ^ new) & bits
        after = bytearray(before)
        np.frombuffer(after, "<u8")[words.at] = was ^ flips
        all_flip = bool((flips == bits).all())
        known = WordChanges(words.at, was, was ^ flips) if all_flip else None
        change = self._change(offset, field, before, after, known)
        if change is not None and all_flip:
            start, content = change.offset, (change.new, change.old)
        else:
            some = WordChanges(words.at, new ^ bits, new)
            over, wanted = self._spool.put_words(len(before), some, (0, 0))
            start, content = offset, (wanted, over)
        self._add(stage, start, content, _moved(field, start - offset), reason, change)

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

    def _add(
        self,
        stage: Stage,
        offset: int,
        content: tuple[Blob, Blob | None],
        field: Field,
        reason: str,
        change: Change | None,
    ) -> None:
        """Keep what was put, and show it."""
        self._number += 1
        put = _Put(self._number, stage, offset, *content, field, reason, change)
        self._puts[stage].append(put)
        self._built = None
        if change is not None:
            self.overlay.put(change.offset, change.new)

    def _change(
        self,
        offset: int,
        field: Field,
        before: bytes,
        after: bytes | bytearray,
        words: WordChanges | None = None,
    ) -> Change | None:
        """What some bytes at an offset become, as far as the file reaches or has to grow.

        ``words`` are those that differ, one at least, where they are known.
        """
        self._grow_for(offset, after)
        shown = max(0, self.new_size - offset)
        if shown < len(after):
            before, after, words = before[:shown], after[:shown], None
        whole = offset + len(after) > self._end
        return change_of(self._spool, offset, field.unit_bits, before, after, words, whole=whole)

    def _all_steps(self) -> list[Step]:
        """The steps of all stages, with barriers between."""
        found: list[Step] = []
        tangled = _tangled(put for puts in self._puts.values() for put in puts)
        running = OverlaySource(self.image.source)
        for stage in Stage:
            steps = list(self._steps(stage, tangled, running))
            if steps and found:
                found.append(Barrier())
            found += steps
        if found:
            found.append(Barrier())
        return found

    def _steps(self, stage: Stage, tangled: set[_Put], running: OverlaySource) -> Iterator[Step]:
        """The steps of one stage; ``running`` shows what is ``tangled`` as it is by then."""
        if stage is Stage.PREPARE and self._size is not None:
            yield Resize(self.image.source.size, self._size, "file.grow")
        for put in _in_order(self._puts[stage]):
            change = put.change
            if put in tangled:
                change = self._change_of(put, running)
                if change is not None:
                    running.put(change.offset, change.new)
            if change is not None:
                field = _moved(put.field, change.offset - put.offset)
                old, new = change.old, change.new
                yield Write(change.offset, old, new, field, put.reason, change.units)

    def _grow_for(self, offset: int, data: bytes | bytearray) -> None:
        """Have the file hold some bytes; zeros past its end are there without any room."""
        if offset + len(data) > self.new_size:
            held = len(data.rstrip(b"\0"))
            if held and offset + held > self.new_size:
                # What is written are whole sectors.
                sector_end = -(-(offset + held) // SECTOR_SIZE) * SECTOR_SIZE
                self.grow(min(offset + len(data), sector_end))

    def _change_of(self, put: _Put, running: OverlaySource) -> Change | None:
        """What is changed by something that was put, when all before it is done."""
        old = running.read(put.offset, put.new.length)
        nothing = bytes(len(old))
        new = bytes(put.new.over(nothing))
        if put.over is not None:
            # Bits that are not told are the same in both.
            new = _changed_bits(old, new, bytes(put.over.over(nothing)))
        return self._change(put.offset, put.field, old, new)


def _real_size(source: Readable) -> int:
    """The length in bytes of the file below all that is only planned."""
    while isinstance(source, OverlaySource):
        source = source.inner
    return source.size


def _changed_bits(old: bytes, new: bytes, other: bytes) -> bytes:
    """The new bits where they differ from some others; elsewhere the old ones."""
    before, after, unless = (np.frombuffer(data, np.uint8) for data in (old, new, other))
    return (before ^ ((before ^ after) & (after ^ unless))).tobytes()


def _tangled(puts: Iterable[_Put]) -> set[_Put]:
    """What lies over each other and was not put in the order of the stages."""
    found: set[_Put] = set()
    group: list[_Put] = []
    reach = 0
    for put in sorted(puts, key=lambda put: put.offset):
        if group and put.offset >= reach:
            found |= _disordered(group)
            group = []
        group.append(put)
        reach = max(reach, put.end)
    return found | _disordered(group)


def _disordered(group: list[_Put]) -> set[_Put]:
    """All of some puts that lie over each other, unless they came in the order of the stages."""
    stages = [put.stage for put in sorted(group, key=lambda put: put.number)]
    return set() if stages == sorted(stages) else set(group)


def _in_order(puts: list[_Put]) -> list[_Put]:
    """By where they are in the file; as they were put where one lies over another."""
    by_offset = sorted(puts, key=lambda put: put.offset)
    apart = all(one.offset + one.new.length <= other.offset for one, other in pairwise(by_offset))
    return by_offset if apart else puts


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
