"""A second look at the refcounts of a finished plan, by other means than those that made it."""

from collections.abc import Iterator, Mapping

import numpy as np
from numpy.typing import NDArray

from qcow2_dump.checks.stored import StoredChunk, StoredRefcounts
from qcow2_dump.errors import UnsafePlanError
from qcow2_dump.image.image import Image
from qcow2_dump.plan.model import Plan
from qcow2_dump.plan.overlay import OverlaySource
from qcow2_dump.planners.checked import Checked

__all__ = ["prove_refcounts"]

_U64 = NDArray[np.uint64]


def prove_refcounts(
    plan: Plan, found: Checked, drafted: Checked, changes: Mapping[int, int]
) -> None:
    """Read the refcounts as the plan leaves them, and compare them with the counts.

    Raises UnsafePlanError where one is below the references of its cluster although it was not
    before, or although the plan itself refers to the cluster anew. ``drafted`` counted the
    references of the image as it will be, but for the ``changes`` that new and replaced refcount
    blocks make, by cluster.
    """
    after = StoredRefcounts(Image(OverlaySource(found.image.source, plan), found.image.resolver))
    clusters = max(drafted.facts.clusters, max(changes, default=-1) + 1)
    changed = np.array(sorted(changes), dtype=np.int64)
    times = np.array([changes[cluster] for cluster in changed.tolist()], dtype=np.int64)
    maximum = np.uint64(found.image.geometry.refcount_max)
    before = found.facts.stored.chunks(clusters)
    for first, stored, target in _side_by_side(before, after.chunks(clusters)):
        length = len(target)
        counted = _counts(drafted, first, length)
        low, high = np.searchsorted(changed, (first, first + length))
        at = changed[low:high] - first
        counted[at] = np.maximum(0, counted[at].astype(np.int64) + times[low:high])
        referred = np.minimum(_counts(found, first, length), maximum)
        needed = np.minimum(counted, maximum)
        anew = (needed > referred) & (needed > stored)
        wrong = np.flatnonzero((target < needed) & ((target < stored) | anew))
        if len(wrong):
            worst = int(wrong[0])
            raise UnsafePlanError(
                f"cluster {first + worst} would have {int(counted[worst])} references and a "
                f"refcount of {int(target[worst])}: the refcounts have to be repaired first"
            )


def _side_by_side(
    before: Iterator[StoredChunk], after: Iterator[StoredChunk]
) -> Iterator[tuple[int, _U64, _U64]]:
    """The same stretches of two walks over all refcounts: the first cluster, and both values.

    A block that is only there in one of them makes for pieces of other lengths.
    """
    was, will = next(before, None), next(after, None)
    first = 0
    while was is not None and will is not None:
        end = min(was.end, will.end)
        yield first, _values(was, first, end), _values(will, first, end)
        first = end
        was = next(before, None) if was.end == end else was
        will = next(after, None) if will.end == end else will


def _values(chunk: StoredChunk, first: int, end: int) -> _U64:
    """The stored refcounts of a part of a piece: uint64[end - first]."""
    if chunk.values is None:
        return np.zeros(end - first, dtype=np.uint64)
    return chunk.values[first - chunk.first : end - chunk.first].astype(np.uint64)


def _counts(checked: Checked, first: int, length: int) -> _U64:
    """Counted references of a stretch, zeros past those that there are: uint64[length]."""
    padded = np.zeros(length, dtype=np.uint64)
    held = checked.facts.references.counts[first : first + length]
    padded[: len(held)] = held
    return padded
