"""Adds up a survey: which bytes of the file are what, and whose."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from qcow2_dump.checks.bitset import BitSet
from qcow2_dump.checks.space.host_allocation import allocated_free_bytes
from qcow2_dump.checks.space.kinds import Kind
from qcow2_dump.checks.space.sums import Part, SpaceSums, TreeSums
from qcow2_dump.checks.space.survey import Survey
from qcow2_dump.checks.space.users import NOBODY, Use, trees_in

__all__ = ["sum_up"]

_WINDOW = 1 << 20

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


def sum_up(survey: Survey) -> SpaceSums:
    """Add up a survey that has run. Raises SourceError when the image cannot be read."""
    under = survey.leaks.undercounted
    over = survey.leaks.overcounted
    of_codes = _bytes_of_codes(survey)
    stays = np.zeros_like(of_codes)
    for wrong in (over, under):
        stays += _bytes_of_codes(survey, wrong)
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
        parts=_parts(survey),
        allocated_free=allocated_free_bytes(survey),
        trees=_trees(survey, of_codes, frees),
        crowded=crowded,
        overcounted=_bytes_of(survey, over),
        undercounted=_bytes_of(survey, under),
        claimed_twice=twice,
        frees=list(frees.items()),
    )


def _windows(survey: Survey) -> Iterator[tuple[int, int]]:
    """The first cluster of each piece of the file, and the one behind it."""
    for start in range(0, survey.space.clusters, _WINDOW):
        yield start, min(start + _WINDOW, survey.space.clusters)


def _bytes_of_codes(survey: Survey, chosen: BitSet | None = None) -> NDArray[np.int64]:
    """The bytes of all clusters with each code, or of the chosen ones among them: int64[codes]."""
    found = np.zeros(len(survey.uses.users.masks), dtype=np.int64)
    if chosen is not None and not chosen:
        return found
    last = survey.space.clusters - 1
    for start, end in _windows(survey):
        if chosen is not None and not chosen.any_in(start, end):
            continue
        if not survey.uses.any_in(start, end):
            unused = end - start
            if chosen is not None:
                unused = int(np.count_nonzero(chosen.flags(start, end)))
            found[NOBODY] += unused << survey.space.cluster_bits
            continue
        codes = survey.uses.codes[start:end]
        if chosen is not None:
            codes = codes[chosen.flags(start, end)]
        found += np.bincount(codes, minlength=len(found)) << survey.space.cluster_bits
    if last >= 0 and (chosen is None or chosen.contains(np.array([last]))[0]):
        found[survey.uses.codes[last]] -= survey.space.missing
    return found


def _bytes_of(survey: Survey, clusters: BitSet) -> int:
    """The bytes of the clusters of the file that are in a set."""
    return int(_bytes_of_codes(survey, clusters).sum())


def _parts(survey: Survey) -> dict[Part, int]:
    """The bytes of each part of the file."""
    size = survey.space.cluster_size
    counts = np.zeros(len(Kind), dtype=np.int64)
    behind, last = 0, Kind.FREE
    for start, end, kinds in survey.windows():
        if kinds is None:
            counts[Kind.FREE] += end - start
            last = Kind.FREE
            continue
        counts += np.bincount(kinds, minlength=len(Kind))
        used = kinds[::-1] != Kind.FREE
        if used.any():
            behind = start + len(kinds) - int(used.argmax())
        last = Kind(int(kinds[-1]))
    of_kinds = counts << survey.space.cluster_bits
    of_kinds[last] -= survey.space.missing
    parts = {Part[kind.name]: int(of_kinds[kind]) for kind in Kind}
    tail = max(0, survey.space.length - behind * size)
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
            survey.facts.trees[tree].usable and not survey.facts.trees[tree].is_blank,
        )
        for tree in range(number)
    ]
