"""A second look at the refcounts of a finished plan, by other means than those that made it."""

from collections.abc import Mapping

import numpy as np

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
    before. ``drafted`` counted the references of the image as it will be, but for the ``changes``
    that new and replaced refcount blocks make, by cluster.
    """
    after = StoredRefcounts(Image(OverlaySource(found.image.source, plan), found.image.resolver))
    counts = drafted.facts.references.counts
    freed = np.array([c for c, times in changes.items() if times < 0], dtype=np.int64)
    maximum = np.uint64(found.image.geometry.refcount_max)
    before = found.facts.stored.chunks(drafted.facts.clusters)
    for was, will in zip(before, after.chunks(drafted.facts.clusters), strict=True):
        counted = np.minimum(counts[was.first : was.end].astype(np.uint64), maximum)
        stored = np.zeros(len(counted), np.uint64) if was.values is None else was.values
        target = np.zeros(len(counted), np.uint64) if will.values is None else will.values
        fallen = np.flatnonzero((target < counted) & (target < stored))
        fallen = fallen[~np.isin(fallen + was.first, freed)]
        if len(fallen):
            cluster = was.first + int(fallen[0])
            raise UnsafePlanError(
                f"the plan would lower the refcount of cluster {cluster} from "
                f"{int(stored[fallen[0]])} to {int(target[fallen[0]])} although it has "
                f"{int(counted[fallen[0]])} references: this is a fault of qcow2-dump"
            )
