"""A plan: what would be written where, in which order, and why (architecture, idea 4).

A plan is a list of steps. `Write` replaces bytes that are known beforehand, `Resize` changes the
length of the file, and `Barrier` has everything before it reach the disk before anything behind
it is begun. Planners put what is pointed at before what points to it, with a barrier between;
within a stretch between barriers any subset of the writes may survive a crash.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from qcow2_dump.plan.spool import Blob, Spool

__all__ = ["Barrier", "Field", "Plan", "Resize", "Step", "Write"]


@dataclass(frozen=True, slots=True)
class Field:
    """What the bytes of a write are, for whoever shows the change.

    ``kind`` names the structure (``l2``, ``refcount_block``, ``header``, ...) that starts at file
    offset ``table``. It is a row of units of ``unit_bits`` bits, of which the write starts with
    number ``first``: entries of a table, refcounts of a block. A ``unit_bits`` of 0 means bytes
    without such a meaning. Where the units map guest ranges, the first maps ``guest_offset``, and
    each ``guest_step`` bytes.
    """

    kind: str
    table: int
    unit_bits: int = 64
    first: int = 0
    guest_offset: int | None = None
    guest_step: int = 0


@dataclass(frozen=True, slots=True)
class Write:
    """Replace the bytes ``old`` at a file offset by ``new``, of the same length.

    Past the end of the file the old bytes are zeros. Where few words change, both are bytes in
    place: the rest is neither put aside nor changed. ``reason`` is a code that says why, and
    ``count`` how many units of ``field`` change.
    """

    offset: int
    old: Blob
    new: Blob
    field: Field
    reason: str
    count: int

    @property
    def length(self) -> int:
        """Bytes written."""
        return self.new.length

    @property
    def end(self) -> int:
        """File offset behind the last byte written."""
        return self.offset + self.new.length


@dataclass(frozen=True, slots=True)
class Resize:
    """Change the length of the file, in bytes. A file grows by zeros."""

    old: int
    new: int
    reason: str


@dataclass(frozen=True, slots=True)
class Barrier:
    """What comes before is on the disk before anything behind is begun."""


Step = Write | Resize | Barrier


@dataclass(slots=True)
class Plan:
    """Steps in the order in which they are to be done; ``title`` says what for.

    ``size`` is the length of the file in bytes that the plan was made for. The bytes of its
    writes lie in ``spool``, which the plan closes when it is closed itself.
    """

    title: str
    size: int
    steps: list[Step] = field(default_factory=list)
    spool: Spool = field(default_factory=Spool)

    @property
    def new_size(self) -> int:
        """The length of the file in bytes when all is done."""
        return next((s.new for s in reversed(self.steps) if isinstance(s, Resize)), self.size)

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to do."""
        return all(isinstance(step, Barrier) for step in self.steps)

    @property
    def bytes_written(self) -> int:
        """Bytes that all writes write."""
        return sum(write.length for write in self.writes())

    def writes(self) -> Iterator[Write]:
        """The writes, in order."""
        return (step for step in self.steps if isinstance(step, Write))

    def reasons(self) -> Counter[str]:
        """How many changes are made for each reason."""
        counted: Counter[str] = Counter()
        for step in self.steps:
            if isinstance(step, Write):
                counted[step.reason] += step.count
            elif isinstance(step, Resize):
                counted[step.reason] += 1
        return counted

    def inverse(self, title: str, reason: str) -> "Plan":
        """What takes this plan back: its steps from the last to the first.

        It shares the spool of this plan, which must stay open for as long.
        """
        steps: list[Step] = []
        for step in reversed(self.steps):
            if isinstance(step, Write):
                back = Write(step.offset, step.new, step.old, step.field, reason, step.count)
                steps.append(back)
            elif isinstance(step, Resize):
                # What lay behind the old end must be gone from the tables first.
                steps += [Barrier(), Resize(step.new, step.old, reason), Barrier()]
            else:
                steps.append(step)
        return Plan(title, self.new_size, steps, self.spool)

    def close(self) -> None:
        """Give up the bytes of the writes."""
        self.spool.close()
