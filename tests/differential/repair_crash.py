"""Stopping a plan at every point, with any of the writes since the last barrier lost.

The judge of what is left then is independent of the package: it compares the references, the
refcounts, the COPIED flags and the mapping of the image as found with those of the image as left.
"""

from __future__ import annotations

import random
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from qcow2_dump.plan.model import Barrier, Plan, Resize, Step, Write
from tests.corpus.layout import COMPRESSED, COPIED, OFFSET_MASK
from tests.differential.repair_tables import Held, Tables, Tree, Unreadable
from tests.support.whole_writes import in_full

ALL_SUBSETS_UP_TO = 6
SECTOR = 512

_U = np.uint64


def apply_steps(disk: bytearray, steps: Iterable[Step]) -> None:
    """Do some steps to an image in memory."""
    for step in steps:
        if isinstance(step, Write):
            if len(disk) < step.end:
                disk.extend(bytes(step.end - len(disk)))
            there = bytes(disk[step.offset : step.end])
            disk[step.offset : step.end] = step.new.over(there)
        elif isinstance(step, Resize):
            del disk[step.new :]
            disk.extend(bytes(step.new - len(disk)))


def stages(plan: Plan) -> list[list[Step]]:
    """The steps between barriers."""
    found: list[list[Step]] = [[]]
    for step in plan.steps:
        if isinstance(step, Barrier):
            found.append([])
        else:
            found[-1].append(step)
    return [stage for stage in found if stage]


def crashed(original: bytes, plan: Plan, rng: random.Random, most: int) -> Iterator[bytearray]:
    """The image after a crash in each stage of a plan.

    All subsets of a stage's steps are done up to six of them, `most` random ones above; then a few
    of its sectors, as a disk promises no more than whole sectors. A crash before the end of a
    stage is one in which the steps behind are among those lost.
    """
    disk = bytearray(original)
    # What reaches the disk are sectors as the program saw them, not words.
    for stage in stages(in_full(plan, original)):
        pieces = [piece for step in stage for piece in sectors(step)]
        torn = subsets(pieces, rng, max(3, most // 4)) if len(pieces) > len(stage) else ()
        for kept in (*subsets(stage, rng, most), *torn):
            state = bytearray(disk)
            apply_steps(state, kept)
            yield state
        apply_steps(disk, stage)


def sectors(step: Step) -> Iterator[Step]:
    """The parts of a step that reach the disk each as a whole; at most 64 for a long write."""
    if not isinstance(step, Write):
        yield step
        return
    size = max(1, -(-step.length // (64 * SECTOR))) * SECTOR
    start = step.offset
    while start < step.end:
        end = min(start // size * size + size, step.end)
        at, length = start - step.offset, end - start
        yield replace(
            step, offset=start, old=step.old.cut(at, length), new=step.new.cut(at, length)
        )
        start = end


def subsets(stage: Sequence[Step], rng: random.Random, most: int) -> Iterator[list[Step]]:
    """Which of the steps of a stage reach the disk, in their order."""
    if len(stage) <= ALL_SUBSETS_UP_TO and 2 ** len(stage) <= max(most, 2):
        for count in range(len(stage) + 1):
            yield from (list(chosen) for chosen in combinations(stage, count))
        return
    yield list(stage)
    for number in range(most - 1):
        # Few lost, few kept, and half of them: each hides other mistakes.
        share = (0.1, 0.5, 0.9)[number % 3]
        yield [step for step in stage if rng.random() < share]


@dataclass(frozen=True)
class Mapped:
    """Where a tree leads: guest clusters, in order, with their entries but for flags."""

    guest: NDArray[np.int64]
    value: NDArray[np.uint64]
    bitmap: NDArray[np.uint64]

    def same(self, other: Mapped) -> bool:
        """Whether both lead to the same, everywhere."""
        return (
            np.array_equal(self.guest, other.guest)
            and np.array_equal(self.value, other.value)
            and np.array_equal(self.bitmap, other.bitmap)
        )

    def is_in(self, image: Judged) -> bool:
        """Whether any tree of an image leads to the same."""
        return any(self.same(tree) for tree in image.trees.values())

    def entries(self) -> dict[int, tuple[int, int]]:
        """By guest cluster."""
        pairs = zip(self.value.tolist(), self.bitmap.tolist(), strict=True)
        return dict(zip(self.guest.tolist(), pairs, strict=True))


class Judged:
    """An image as the judge knows it. Raises `Unreadable`."""

    def __init__(
        self,
        data: bytes | bytearray,
        was: Judged | None = None,
        blocks: Collection[int] = (),
    ) -> None:
        self.tables = Tables(Held(data), was.tables if was else None)
        self.nonsense = was.nonsense if was else self._nonsense(blocks)
        self.missing = self._missing()
        self.stale = self._stale()
        self.trees = {tree.ident: self._mapped(tree) for tree in self.tables.trees}

    def _nonsense(self, blocks: Collection[int]) -> frozenset[tuple[bytes | None, int]]:
        """Trees and L1 indices that lead to what holds another table, or the header."""
        tables = self.tables
        leading = [(tree, *tables.l2_tables(tree)) for tree in tables.trees]
        named = tables.table_references.copy()
        for _, _, offsets in leading:
            np.add.at(named, offsets // tables.cluster_size, -1)
        others = [*np.flatnonzero(named > 0).tolist(), *blocks]
        return frozenset(
            (tree.ident, at)
            for tree, indices, offsets in leading
            for at in indices[np.isin(offsets // tables.cluster_size, others)].tolist()
        )

    def _missing(self) -> NDArray[np.int64]:
        """By how much the stored refcount of each cluster is below its references."""
        stored = self.tables.stored.clip(0, 1 << 40).astype(np.int64)
        return (self.tables.references - stored).clip(0)

    def _stale(self) -> frozenset[int]:
        """Places of active entries with COPIED whose cluster has another refcount than 1."""
        tables, active = self.tables, self.tables.trees[0]
        l1_places = active.l1_offset + 8 * np.arange(len(active.l1))
        found = self._stale_among(l1_places, active.l1)
        if not tables.data_file:
            entries = tables.entries(active)
            plain = entries.value & _U(COMPRESSED) == 0
            found |= self._stale_among(entries.place[plain], entries.value[plain])
        return frozenset(found)

    def _stale_among(self, places: NDArray[np.int64], values: NDArray[np.uint64]) -> set[int]:
        tables = self.tables
        flagged = (values & _U(COPIED) != 0) & (values & _U(OFFSET_MASK) != 0)
        places, values = places[flagged], values[flagged]
        clusters = (values & _U(OFFSET_MASK)).astype(np.int64) // tables.cluster_size
        inside = clusters < len(tables.stored)
        counts = np.zeros(len(clusters), np.uint64)
        counts[inside] = tables.stored[clusters[inside]]
        return set(places[counts != 1].tolist())

    def _mapped(self, tree: Tree) -> Mapped:
        found = self.tables.entries(tree)
        packed = found.value & _U(COMPRESSED) != 0
        plain = _U(OFFSET_MASK | (0 if self.tables.extended else 1))
        if self.tables.data_file:
            plain |= _U(COPIED)
        value = np.where(packed, found.value & ~_U(COPIED), found.value & plain)
        leads = (value != 0) | (found.bitmap != 0)
        nonsense = [at for ident, at in self.nonsense if ident == tree.ident]
        leads &= ~np.isin(found.guest // self.tables.l2_entries, nonsense)
        return Mapped(found.guest[leads], value[leads], found.bitmap[leads])


class CrashJudge:
    """Says what a crash took away, given the image as found and as it is in the end.

    `blocks` are clusters known to be refcount blocks, whatever else claims them.
    """

    def __init__(
        self, original: bytes, final: bytes | bytearray, blocks: Collection[int] = ()
    ) -> None:
        self.before = Judged(original, blocks=blocks)
        self.final = Judged(final, self.before)

    def faults(self, state: bytes | bytearray) -> list[str]:
        """What is worse than in the image as found; empty when nothing is."""
        try:
            now = Judged(state, self.before)
        except Unreadable as error:
            return [f"nobody can read it: {error}"]
        return [*self._refcounts(now), *self._flags(now), *self._mapping(now)]

    def _refcounts(self, now: Judged) -> Iterator[str]:
        before = np.zeros(len(now.missing), np.int64)
        shared = min(len(before), len(self.before.missing))
        before[:shared] = self.before.missing[:shared]
        worse = np.flatnonzero(now.missing > before)
        if len(worse):
            cluster = int(worse[0])
            stored, named = now.tables.stored[cluster], now.tables.references[cluster]
            yield (
                f"refcount below the references of {len(worse)} clusters, "
                f"first {cluster}: {stored} for {named}"
            )

    def _flags(self, now: Judged) -> Iterator[str]:
        new = now.stale - self.before.stale
        if new:
            yield f"COPIED on {len(new)} entries without refcount 1, first at {min(new):#x}"

    def _mapping(self, now: Judged) -> Iterator[str]:
        for ident, was in self.before.trees.items():
            found, final = now.trees.get(ident), self.final.trees.get(ident)
            name = "active" if ident is None else f"snapshot {ident.decode(errors='replace')}"
            if was.is_in(self.final) and not was.is_in(now):
                yield f"{name}: what it was is nowhere"
            if found is None:
                if final is not None:
                    yield f"{name} is gone"
                continue
            if found.same(was) or (final is not None and found.same(final)):
                continue
            yield from self._entries(name, was, found, final)

    def _entries(
        self, name: str, was: Mapped, found: Mapped, final: Mapped | None
    ) -> Iterator[str]:
        old, new = was.entries(), found.entries()
        goal = final.entries() if final is not None else {}
        wrong = [
            guest
            for guest in old.keys() | new.keys()
            if new.get(guest) not in (old.get(guest), goal.get(guest))
        ]
        if wrong:
            yield f"{name}: {len(wrong)} guest clusters lead elsewhere, first {min(wrong)}"


def overwritten(original: bytes, plan: Plan, blocks: Collection[int] = ()) -> list[str]:
    """Writes over what may be guest data: mapped clusters, or such that nothing refers to.

    Each write is judged by the image as it is when its stage begins. `blocks` are clusters known
    to be refcount blocks, whatever else claims them.
    """
    found: list[str] = []
    disk = bytearray(original)
    for stage in stages(plan):
        tables = Tables(Held(disk))
        for write in stage:
            if isinstance(write, Write):
                found += _overwrites(tables, write, blocks)
        apply_steps(disk, stage)
    return found


def _overwrites(tables: Tables, write: Write, blocks: Collection[int]) -> Iterator[str]:
    size = tables.cluster_size
    for cluster in range(write.offset // size, (write.end - 1) // size + 1):
        if cluster >= tables.clusters or cluster in blocks or tables.table_references[cluster]:
            continue
        if tables.data_references[cluster]:
            yield f"a write for {write.reason} into guest data, cluster {cluster}"
        elif not tables.block_references[cluster] and any(tables.image.read(cluster * size, size)):
            yield f"a write for {write.reason} over orphan cluster {cluster}"
