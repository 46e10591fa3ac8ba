"""A second look at the refcounts of a finished plan, by other means than those that made it."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from qcow2_dump.checks.stored import StoredRefcounts
from qcow2_dump.errors import UnsafePlanError
from qcow2_dump.image.image import Image
from qcow2_dump.plan.model import Plan
from qcow2_dump.plan.overlay import OverlaySource
from qcow2_dump.planners.checked import Checked

__all__ = ["prove_refcounts"]


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
    counts = drafted.facts.references.counts
    freed = np.array([c for c, times in changes.items() if times < 0], dtype=np.int64)
    maximum = np.uint64(found.image.geometry.refcount_max)
    earlier = found.facts.references.counts
    before = found.facts.stored.chunks(drafted.facts.clusters)
    for was, will in zip(before, after.chunks(drafted.facts.clusters), strict=True):
        length = was.end - was.first
        counted = np.minimum(_padded(counts[was.first : was.end], length), maximum)
        referred = np.minimum(_padded(earlier[was.first : was.end], length), maximum)
        stored = np.zeros(length, np.uint64) if was.values is None else was.values
        target = np.zeros(length, np.uint64) if will.values is None else will.values
        wrong = np.flatnonzero(
            (target < counted) & ((target < stored) | ((counted > referred) & (counted > stored)))
        )
        wrong = wrong[~np.isin(wrong + was.first, freed)]
        if len(wrong):
            at = int(wrong[0])
            raise UnsafePlanError(
                f"cluster {was.first + at} would have {int(counted[at])} references and a refcount "
                f"of {int(target[at])}: the refcounts have to be repaired first"
            )


def _padded(counts: NDArray[np.unsignedinteger], length: int) -> NDArray[np.uint64]:
    """Counts of a stretch, zeros behind those that there are: uint64[length]."""
    padded = np.zeros(length, dtype=np.uint64)
    padded[: len(counts)] = counts
    return padded
