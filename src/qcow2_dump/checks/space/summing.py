"""Adds up a survey: which bytes of the file are what, and whose."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from qcow2_dump.checks.bitset import BitSet
from qcow2_dump.checks.space.host_allocation import FreeAllocation
from qcow2_dump.checks.space.kinds import Kind, kinds_of
from qcow2_dump.checks.space.stretches import Stretches, add_up
from qcow2_dump.checks.space.sums import Part, SpaceSums, TreeSums
from qcow2_dump.checks.space.survey import Survey
from qcow2_dump.checks.space.users import Use, trees_in
from qcow2_dump.checks.trees import Tree

__all__ = ["sum_up"]

# What a snapshot brings into the file. Clusters that are anything else too are not freed with it.
_OF_TREES = int(Use.L1 | Use.L2 | Use.DATA | Use.COMPRESSED | Use.VM_STATE)

_STRUCTURES = int(
    Use.HEADER
    | Use.SNAPSHOT_TABLE
    | Use.L1
    | Use.L2
    | Use.REFCOUNT_TABLE
    | Use.REFCOUNT_BLOCK
    | Use.LUKS
    | Use.BITMAPS
    | Use.DATA
    | Use.COMPRESSED
)
_STATE, _CROWD, _L2 = int(Use.VM_STATE), int(Use.CROWD), int(Use.L2)
_USES = _STRUCTURES | _STATE | _CROWD


def sum_up(survey: Survey, *others: Callable[[Stretches], None]) -> SpaceSums:
    """Add up a survey that has run. Raises SourceError when the image cannot be read.

    The ``others`` are given all stretches of the file, too, in pieces and in order.
    """
    totals, free = _Totals(survey), FreeAllocation(survey)
    for stretches in survey.stretches():
        for take in (totals.take, free.take, *others):
            take(stretches)
    totals.finish()
    under = survey.leaks.undercounted
    over = survey.leaks.overcounted
    of_codes = totals.of_codes
    over_codes, under_codes = _bytes_of_codes(survey, over), _bytes_of_codes(survey, under)
    stays = over_codes + under_codes
    frees: dict[int, int] = {}
    crowded = twice = 0
    masks = survey.uses.users.masks
    for mask, length, left in zip(masks, of_codes.tolist(), stays.tolist(), strict=True):
        trees = trees_in(mask)
        if mask & _CROWD:
            crowded += length
        elif trees and not trees & 1 and not mask & _USES & ~_OF_TREES and length > left:
            frees[trees] = frees.get(trees, 0) + length - left
        if (mask & _STRUCTURES).bit_count() > 1:
            twice += length
    return SpaceSums(
        length=survey.space.length,
        parts=_parts(survey, totals),
        allocated_free=free.bytes,
        trees=_trees(survey, of_codes, frees),
        crowded=crowded,
        overcounted=int(over_codes.sum()),
        undercounted=int(under_codes.sum()),
        claimed_twice=twice,
        frees=sorted(frees.items()),
    )


class _Totals:
    """The bytes of all clusters with each code (int64[codes]) and of each `Kind` (int64[kinds]).

    ``behind`` is the cluster behind the last one that is not free. In clusters until all of the
    file was taken and it is finished.
    """

    def __init__(self, survey: Survey) -> None:
        self.of_codes = np.zeros(len(survey.uses.users.masks), dtype=np.int64)
        self.of_kinds = np.zeros(len(Kind), dtype=np.int64)
        self.behind = 0
        self._kinds = kinds_of(survey.uses.users)
        self._leaked = 0
        self._space = survey.space
        self._last: Stretches | None = None

    def take(self, stretches: Stretches) -> None:
        """Add the next piece of the file."""
        lengths = stretches.lengths
        add_up(self.of_codes, stretches.codes, lengths)
        self._leaked += int(lengths[stretches.kinds == Kind.LEAKED].sum())
        last = (stretches.kinds != Kind.FREE).tobytes().rfind(1)
        if last >= 0:
            self.behind = int(stretches.ends[last])
        self._last = stretches

    def finish(self) -> None:
        """Turn clusters into bytes, of which the last cluster may have fewer."""
        add_up(self.of_kinds, self._kinds, self.of_codes)
        # Nobody uses leaked clusters either.
        self.of_kinds[Kind.FREE] -= self._leaked
        self.of_kinds[Kind.LEAKED] += self._leaked
        self.of_codes <<= self._space.cluster_bits
        self.of_kinds <<= self._space.cluster_bits
        if self._last is not None:
            self.of_codes[self._last.codes[-1]] -= self._space.missing
            self.of_kinds[self._last.kinds[-1]] -= self._space.missing


def _bytes_of_codes(survey: Survey, chosen: BitSet) -> NDArray[np.int64]:
    """The bytes of the chosen clusters with each code: int64[codes]."""
    found = np.zeros(len(survey.uses.users.masks), dtype=np.int64)
    clusters, codes = survey.space.clusters, survey.uses.codes
    for chunk in chosen.chunks():
        inside = chunk[chunk < clusters]
        sizes = np.full(len(inside), survey.space.cluster_size, dtype=np.int64)
        add_up(found, codes[inside], sizes)
        if len(inside) and int(inside[-1]) == clusters - 1:
            found[codes[clusters - 1]] -= survey.space.missing
    return found


def _parts(survey: Survey, totals: _Totals) -> dict[Part, int]:
    """The bytes of each part of the file."""
    parts = {Part[kind.name]: int(totals.of_kinds[kind]) for kind in Kind}
    tail = max(0, survey.space.length - totals.behind * survey.space.cluster_size)
    payload = min(survey.payload, parts[Part.COMPRESSED])
    parts[Part.SLACK] = parts[Part.COMPRESSED] - payload
    parts[Part.COMPRESSED] = payload
    parts[Part.TAIL] = tail
    parts[Part.FREE] -= tail
    return {part: parts[part] for part in Part}


def _trees(survey: Survey, of_codes: NDArray[np.int64], frees: dict[int, int]) -> list[TreeSums]:
    number = len(survey.facts.trees)
    referenced, state = np.zeros((2, number), dtype=np.int64)
    exclusive = [0] * number
    for mask, length in zip(survey.uses.users.masks, of_codes.tolist(), strict=True):
        trees = trees_in(mask)
        if not trees or not length:
            continue
        packed = np.frombuffer(trees.to_bytes(number // 8 + 1, "little"), dtype=np.uint8)
        held = np.unpackbits(packed, bitorder="little", count=number) * np.int64(length)
        referenced += held
        if mask & _STATE and not mask & _L2:
            state += held
        if trees.bit_count() == 1 and not mask & _CROWD:
            exclusive[trees.bit_length() - 1] += length
    return [
        TreeSums(
            tree,
            int(referenced[tree]),
            exclusive[tree],
            int(state[tree]),
            frees.get(1 << tree, 0) if tree else None,
            _is_known(survey, survey.facts.trees[tree]),
        )
        for tree in range(number)
    ]


def _is_known(survey: Survey, tree: Tree) -> bool:
    """Whether the L1 table of a tree is there to be read, at least in part."""
    lost = tree.l1_size and tree.l1_offset >= survey.space.end
    return tree.usable and not tree.is_blank and not lost
