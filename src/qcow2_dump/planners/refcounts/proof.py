"""A second look at the refcounts of a finished plan, by other means than those that made it."""

from collections.abc import Iterator, Mapping

import numpy as np
from numpy.typing import NDArray

from qcow2_dump.checks.refcount_map import any_counts
from qcow2_dump.checks.stored import StoredChunk, StoredRefcounts
from qcow2_dump.errors import UnsafePlanError
from qcow2_dump.image.image import Image
from qcow2_dump.plan.model import Plan
from qcow2_dump.plan.overlay import OverlaySource
from qcow2_dump.planners.checked import Checked

__all__ = ["prove_refcounts"]

_U64 = NDArray[np.uint64]
_Values = NDArray[np.unsignedinteger] | None


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
    for first, end, was, will in _side_by_side(before, after.chunks(clusters)):
        length = end - first
        low, high = np.searchsorted(changed, (first, end))
        if low == high and _are_counts(drafted, first, end, will):
            continue
        stored, target = _padded(was, length), _padded(will, length)
        counted = _counts(drafted, first, length)
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
) -> Iterator[tuple[int, int, _Values, _Values]]:
    """The same stretches of two walks over all refcounts: ``(first, end)``, and both values.

    A block that is only there in one of them makes for pieces of other lengths.
    """
    was, will = next(before, None), next(after, None)
    first = 0
    while was is not None and will is not None:
        end = min(was.end, will.end)
        yield first, end, _values(was, first, end), _values(will, first, end)
        first = end
        was = next(before, None) if was.end == end else was
        will = next(after, None) if will.end == end else will


def _values(chunk: StoredChunk, first: int, end: int) -> _Values:
    """The stored refcounts of a part of a piece."""
    return None if chunk.values is None else chunk.values[first - chunk.first : end - chunk.first]


def _are_counts(checked: Checked, first: int, end: int, values: _Values) -> bool:
    """Whether some refcounts are just the references that were counted: nearly always, and fast."""
    held = checked.facts.references.counts[first:end]
    if values is None:
        return not any_counts(held)
    return len(held) == len(values) and np.array_equal(held, values)


def _counts(checked: Checked, first: int, length: int) -> _U64:
    """Counted references of a stretch, zeros past those that there are: uint64[length]."""
    return _padded(checked.facts.references.counts[first : first + length], length)


def _padded(values: _Values, length: int) -> _U64:
    """Refcounts or counts, zeros behind those that there are: uint64[length]."""
    padded = np.zeros(length, dtype=np.uint64)
    if values is not None:
        padded[: len(values)] = values
    return padded
