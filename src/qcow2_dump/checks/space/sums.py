"""What the clusters add up to: parts of the file, trees, and what deleting snapshots frees."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

__all__ = ["Part", "SnapshotSet", "SpaceSums", "TreeSums"]

# Sets of snapshots that are worked out, those with the most space of their own.
_MOST_SETS = 100


class Part(StrEnum):
    """The parts of a file: every byte of it is in exactly one.

    ``SLACK`` is what compressed streams leave unused in clusters that hold nothing else,
    ``TAIL`` what lies behind the last cluster in use, ``FREE`` the free clusters before that.
    """

    HEADER = "header"
    SNAPSHOT_TABLE = "snapshot_table"
    L1 = "l1"
    L2 = "l2"
    REFCOUNTS = "refcounts"
    LUKS = "luks"
    BITMAPS = "bitmaps"
    ACTIVE = "data_active"
    SHARED = "data_shared"
    SNAPSHOTS = "data_snapshots"
    STATE = "vm_state"
    COMPRESSED = "compressed"
    SLACK = "compressed_slack"
    LEAKED = "leaked"
    FREE = "free"
    TAIL = "tail"


@dataclass(frozen=True, slots=True)
class TreeSums:
    """One tree, in bytes of the file; ``tree`` is its position in ``CheckFacts.trees``.

    ``referenced`` are the clusters that the tree leads to, its tables among them: ``exclusive``
    ones, which no other tree has, and ``shared`` ones. ``vm_state`` is a part of them. ``freed``
    is what deleting the snapshot gives back, None for the active layer. All of it says nothing of
    a tree that is not ``known``, because its record or its L1 table cannot be read.
    """

    tree: int
    referenced: int
    exclusive: int
    vm_state: int
    freed: int | None
    known: bool = True

    @property
    def shared(self) -> int:
        """Bytes that other trees have as well."""
        return self.referenced - self.exclusive


@dataclass(frozen=True, slots=True)
class SnapshotSet:
    """Snapshots, by the positions of their trees, and the bytes that deleting all of them frees.

    ``more`` says how much of that none of them frees alone.
    """

    trees: tuple[int, ...]
    freed: int
    more: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SpaceSums:
    """The space in a file of ``length`` bytes, which is what ``parts`` add up to.

    ``allocated_free`` is what the file system has set aside for clusters that are free in the
    image, in bytes; None where it does not tell. Of what could not be accounted for: ``crowded``
    bytes of trees that are too many to be told apart, ``overcounted`` ones whose refcount is
    too high, so that they stay when their last user goes, ``undercounted`` ones whose
    refcount is too low, and ``claimed_twice`` ones that are metadata and something else.
    """

    length: int
    parts: dict[Part, int]
    allocated_free: int | None
    trees: list[TreeSums]
    crowded: int
    overcounted: int
    undercounted: int
    claimed_twice: int
    frees: list[tuple[int, int]]

    def freed_by(self, trees: Iterable[int]) -> int:
        """Bytes that deleting some snapshots, given by the positions of their trees, frees.

        That is all but the change of the snapshot table itself, which is written anew.
        """
        gone = sum(1 << tree for tree in set(trees))
        return sum(length for mask, length in self.frees if not mask & ~gone)

    def sets(self) -> list[SnapshotSet]:
        """Sets of snapshots that free more together than one by one, biggest first.

        At most the 100 with the most clusters that all of them have and nobody else; and all
        snapshots, whatever these free.
        """
        several = [row for row in self.frees if row[0].bit_count() > 1]
        several.sort(key=lambda row: (-row[1], row[0]))
        masks = {mask: None for mask, _ in several[:_MOST_SETS]}
        everyone = sum(1 << row.tree for row in self.trees if row.tree)
        if everyone.bit_count() > 1:
            masks[everyone] = None
        alone = self._alone()
        found = [self._set_of(_positions(mask), alone) for mask in masks]
        return sorted(found, key=lambda s: (-s.freed, s.trees))

    def set_of(self, trees: Iterable[int]) -> SnapshotSet:
        """What some snapshots, given by the positions of their trees, free together."""
        return self._set_of(tuple(sorted(set(trees))), self._alone())

    def _alone(self) -> dict[int, int]:
        """What single snapshots free, by their masks."""
        return {mask: length for mask, length in self.frees if mask.bit_count() == 1}

    def _set_of(self, members: tuple[int, ...], alone: dict[int, int]) -> SnapshotSet:
        freed = self.freed_by(members)
        return SnapshotSet(members, freed, freed - sum(alone.get(1 << t, 0) for t in members))


def _positions(mask: int) -> tuple[int, ...]:
    """The bits that are set."""
    return tuple(bit for bit in range(mask.bit_length()) if mask >> bit & 1)
