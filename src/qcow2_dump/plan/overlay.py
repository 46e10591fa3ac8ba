"""A source as it would be after some writes (architecture, idea 5)."""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator

from qcow2_dump.plan.model import Plan, Resize, Step, Write
from qcow2_dump.plan.spool import Blob
from qcow2_dump.plan.target import Readable
from qcow2_dump.storage.base import ByteSource

__all__ = ["OverlaySource"]


class OverlaySource(ByteSource):
    """Another source under a growing layer of writes; nothing is ever written to it.

    Does not close the source below.
    """

    def __init__(self, inner: Readable, plan: Plan | None = None) -> None:
        self.inner = inner
        self.name = inner.name
        self.size = inner.size
        # Disjoint stretches, sorted by where they start.
        self._starts: list[int] = []
        self._blobs: list[Blob] = []
        # What of the source below still shows: less than it has after it was cut.
        self._shown = inner.size
        if plan is not None:
            self.take(plan.steps)

    def take(self, steps: Iterable[Step]) -> None:
        """Show the image as it is after some more steps."""
        for step in steps:
            if isinstance(step, Write):
                self.put(step.offset, step.new)
            elif isinstance(step, Resize):
                self.resize(step.new)

    def put(self, offset: int, blob: Blob) -> None:
        """Lay some bytes over those at an offset; the source grows to hold them."""
        if not blob.length:
            return
        end = offset + blob.length
        self.size = max(self.size, end)
        if not self._starts or self._starts[-1] + self._blobs[-1].length <= offset:
            # Nearly all writes come in the order of the file.
            self._starts.append(offset)
            self._blobs.append(blob)
            return
        first, last, kept = self._cut(offset, end)
        added = self._in_place(offset, blob) if blob.in_place else [(offset, blob)]
        if kept:
            added = sorted(kept + added, key=lambda stretch: stretch[0])
        self._starts[first:last] = [start for start, _ in added]
        self._blobs[first:last] = [held for _, held in added]

    def resize(self, size: int) -> None:
        """Cut the source off, or let it grow by zeros."""
        if size < self.size:
            first, last, kept = self._cut(size, self.size)
            self._starts[first:last] = [start for start, _ in kept]
            self._blobs[first:last] = [held for _, held in kept]
            self._shown = min(self._shown, size)
        self.size = size

    def read(self, offset: int, length: int) -> bytes:
        """Read from the source below at once where nothing was written."""
        if offset + length <= min(self.size, self._shown) and not self._is_touched(offset, length):
            return self.inner.read(offset, length)
        return super().read(offset, length)

    def read_at(self, offset: int, buffer: memoryview) -> int:
        """Read from the writes where there are any, from the source below elsewhere."""
        length = max(0, min(len(buffer), self.size - offset))
        end = offset + length
        touching = self.stretches(offset, end)
        if not touching:
            self._read_below(offset, buffer[:length])
            return length
        parts = [
            (start, blob, max(start, offset), min(start + blob.length, end))
            for start, blob in touching
        ]
        if sum(high - low for _, blob, low, high in parts if not blob.in_place) < length:
            self._read_below(offset, buffer[:length])
        for start, blob, low, high in parts:
            blob.lay_over(low - start, buffer[low - offset : high - offset])
        return length

    def _read_below(self, offset: int, buffer: memoryview) -> None:
        """Fill a buffer with what the source below has there."""
        below = max(0, min(len(buffer), self._shown - offset))
        if below:
            self.inner.read_into(offset, buffer[:below])
        if below < len(buffer):
            buffer[below:] = bytes(len(buffer) - below)

    def stretches(self, start: int, end: int) -> list[tuple[int, Blob]]:
        """The disjoint writes that touch a range: their offsets, ascending, and their bytes."""
        first, last = self._touched(start, end)
        if first == last:
            return []
        return list(zip(self._starts[first:last], self._blobs[first:last], strict=True))

    def data_ranges(self, start: int, end: int) -> Iterator[tuple[int, int]]:
        """Where the source below holds data, and where the writes do."""
        end = min(end, self.size)
        if start >= end:
            return
        here = None
        for low, high in self._all_ranges(start, end):
            if here is not None and low <= here[1]:
                here = (here[0], max(here[1], high))
                continue
            if here is not None:
                yield here
            here = (low, high)
        if here is not None:
            yield here

    def is_being_written(self) -> bool:
        """Ask the source below."""
        return self.inner.is_being_written()

    def allocated(self) -> int | None:
        """Ask the source below."""
        return self.inner.allocated()

    def _all_ranges(self, start: int, end: int) -> Iterator[tuple[int, int]]:
        """The ranges of both, by their starts."""
        written = iter(
            (max(at, start), min(at + blob.length, end))
            for at, blob in self.stretches(start, end)
            if not blob.is_zeros
        )
        following = next(written, None)
        for low, high in self.inner.data_ranges(start, min(end, self._shown)):
            while following is not None and following[0] <= low:
                yield following
                following = next(written, None)
            yield low, high
        while following is not None:
            yield following
            following = next(written, None)

    def _in_place(self, offset: int, blob: Blob) -> list[tuple[int, Blob]]:
        """What bytes in place become with what was put there before: stretches, ascending."""
        end = offset + blob.length
        found: list[tuple[int, Blob]] = []
        reached = offset
        for start, held in self.stretches(offset, end):
            low, high = max(start, offset), min(start + held.length, end)
            if reached < low:
                found.append((reached, blob.cut(reached - offset, low - reached)))
            below = held.cut(low - start, high - low)
            found.append((low, below.under(blob.cut(low - offset, high - low))))
            reached = high
        if reached < end:
            found.append((reached, blob.cut(reached - offset, end - reached)))
        return found

    def _is_touched(self, offset: int, length: int) -> bool:
        first, last = self._touched(offset, offset + length)
        return first < last

    def _touched(self, start: int, end: int) -> tuple[int, int]:
        """Which stretches a range touches: the first, and the one after the last."""
        first = bisect_right(self._starts, start) - 1
        if first < 0 or self._starts[first] + self._blobs[first].length <= start:
            first += 1
        return first, max(first, bisect_left(self._starts, end))

    def _cut(self, start: int, end: int) -> tuple[int, int, list[tuple[int, Blob]]]:
        """Which stretches a range touches, and what remains of them outside of it."""
        first, last = self._touched(start, end)
        kept: list[tuple[int, Blob]] = []
        for at in range(first, last):
            low, blob = self._starts[at], self._blobs[at]
            if low < start:
                kept.append((low, blob.cut(0, start - low)))
            if low + blob.length > end:
                kept.append((end, blob.cut(end - low, low + blob.length - end)))
        return first, last, kept
