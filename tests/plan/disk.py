"""A disk that can lose what was not synced, fail, and stop the program at any call."""

import hashlib
import random
from collections.abc import Callable, Iterable

from qcow2_dump.plan.model import Barrier, Field, Plan, Resize, Step, Write
from qcow2_dump.storage.base import ByteSource
from qcow2_dump.storage.memory import MemorySource

SECTOR = 512
PLAIN = Field("bytes", 0, 0)


class PowerLossError(BaseException):
    """The machine died: nobody can handle that."""


class Disk(MemorySource):
    """What the program sees in ``content``; what has reached the disk in ``stable``.

    ``before`` is called before each write, resize and sync, with its name and how many there were,
    and may raise.
    """

    def __init__(self, content: bytes, before: Callable[[str, int], None] | None = None) -> None:
        self.content = bytearray(content)
        self.stable = bytearray(content)
        self.waiting: list[tuple[int, bytes]] = []
        self.before = before
        self.calls = 0
        self.log: list[str] = []
        self.can_grow = True
        self.name = "disk.qcow2"

    @property
    def size(self) -> int:  # type: ignore[override]
        return len(self.content)

    def read_at(self, offset: int, buffer: memoryview) -> int:
        piece = self.content[offset : offset + len(buffer)]
        buffer[: len(piece)] = piece
        return len(piece)

    def write_at(self, offset: int, data: bytes | bytearray | memoryview) -> None:
        self._call("write")
        put(self.content, offset, bytes(data))
        self.waiting.append((offset, bytes(data)))

    def resize(self, size: int) -> None:
        self._call("resize")
        assert not self.waiting, "a resize must not overtake writes"
        cut(self.content, size)
        cut(self.stable, size)

    def sync(self) -> None:
        self._call("sync")
        self.waiting.clear()
        self.stable[:] = self.content

    def after_power_loss(self, kept: Iterable[tuple[int, bytes]]) -> bytes:
        """What is on the disk when only these of the waiting writes came through."""
        left = bytearray(self.stable)
        for offset, data in kept:
            put(left, offset, data)
        return bytes(left)

    def some_torn(self, chance: random.Random) -> bytes:
        """What is on the disk when a random half of the waiting sectors came through."""
        sectors = [
            sector for write in self.waiting for sector in split(*write) if chance.random() < 0.5
        ]
        return self.after_power_loss(sectors)

    def _call(self, what: str) -> None:
        self.log.append(what)
        self.calls += 1
        if self.before is not None:
            self.before(what, self.calls)


def put(content: bytearray, offset: int, data: bytes) -> None:
    """Write into bytes, which grow."""
    if len(content) < offset + len(data):
        content += bytes(offset + len(data) - len(content))
    content[offset : offset + len(data)] = data


def cut(content: bytearray, size: int) -> None:
    """Have bytes end at a size."""
    del content[size:]
    content += bytes(size - len(content))


def split(offset: int, data: bytes) -> list[tuple[int, bytes]]:
    """A write by sectors."""
    cuts = [offset, *range((offset // SECTOR + 1) * SECTOR, offset + len(data), SECTOR)]
    return [
        (start, data[start - offset : end - offset])
        for start, end in zip(cuts, [*cuts[1:], offset + len(data)], strict=True)
    ]


def digest(source: ByteSource) -> str:
    """All bytes of a small image."""
    return hashlib.sha256(source.read(0, source.size)).hexdigest()


def make_plan(content: bytes, changes: list[tuple[int, bytes] | int | None]) -> Plan:
    """A plan of writes, resizes (a length) and barriers (None) against some content."""
    plan = Plan("a test", len(content))
    held = bytearray(content)
    for change in changes:
        step: Step = Barrier()
        if isinstance(change, int):
            step = Resize(len(held), change, "file.grow")
            cut(held, change)
        elif change is not None:
            offset, data = change
            old, new = bytes(held[offset : offset + len(data)]), data
            # Words of what was not there yet have nothing around them.
            there = offset + len(data) <= len(content)
            blobs = plan.spool.put(old), plan.spool.put(new)
            step = Write(
                offset,
                *(plan.spool.put_change(old, new) if there else blobs),
                PLAIN,
                "because",
                1,
            )
            put(held, offset, data)
        plan.steps.append(step)
    return plan


def result_of(plan: Plan, content: bytes) -> bytes:
    """What a plan makes of some content."""
    held = bytearray(content)
    for step in plan.steps:
        if isinstance(step, Write):
            there = bytes(held[step.offset : step.end])
            put(held, step.offset, bytes(step.new.over(there)))
        elif isinstance(step, Resize):
            cut(held, step.new)
    return bytes(held)
