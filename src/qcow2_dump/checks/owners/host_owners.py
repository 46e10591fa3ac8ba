"""Who claims one host cluster, and its stored and counted refcount."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from qcow2_dump.checks.facts import CheckFacts
from qcow2_dump.checks.findings import Claimant, FindingLog
from qcow2_dump.checks.owners.claimants import ClaimantFinder
from qcow2_dump.checks.pass_blocks import check_blocks
from qcow2_dump.checks.pass_l1 import claim_l2_tables
from qcow2_dump.checks.pass_l2 import check_l2
from qcow2_dump.checks.pass_regions import claim_regions
from qcow2_dump.checks.refcount_map import RefcountMap
from qcow2_dump.image.image import Image
from qcow2_dump.image.refcount_lookup import StoredRefcount, stored_refcount
from qcow2_dump.ondisk.constants import MAX_FILE_OFFSET

__all__ = ["HostLocation", "locate_host"]

_COUNTER_BITS = (8, 16, 32, 64)


@dataclass(frozen=True, slots=True)
class HostLocation:
    """The answer for a host offset in bytes.

    ``inside`` is False past the end of the file. ``counted`` is the number of references to the
    cluster as a check counts them: 0 for a cluster past the end. ``claimants`` are those who name
    the cluster, there too, and ``claimants_total`` their number: equal claims of several trees are
    one owner.
    """

    offset: int
    inside: bool
    stored: StoredRefcount
    counted: int
    claimants: tuple[Claimant, ...]
    claimants_total: int


def locate_host(image: Image, offset: int) -> HostLocation:
    """Find everything that claims the cluster at a host offset.

    Walks all tables, as a check does. Raises SourceError when they cannot be read.
    """
    cluster = offset >> image.geometry.cluster_bits
    facts = CheckFacts.of(image, FindingLog(limit=0))
    if cluster < facts.space.clusters:
        for bits in _COUNTER_BITS:
            facts.references = RefcountMap(facts.references.size, bits)
            _exhaust(_count(facts))
            if not facts.references.overflowed:
                break
        counted = int(facts.references.counts[cluster])
    else:
        facts, counted = _unbounded(facts), 0
    finder = ClaimantFinder(facts, np.array([cluster], dtype=np.int64))
    _exhaust(finder.find())
    claims = finder.claims[cluster]
    return HostLocation(
        offset=offset,
        inside=offset < image.source.size,
        stored=stored_refcount(image, cluster),
        counted=counted,
        claimants=tuple(claims.owners.values()),
        claimants_total=claims.total,
    )


def _unbounded(facts: CheckFacts) -> CheckFacts:
    """The facts with an end of the file behind all offsets, so that no claim lies past it.

    Which tables are read does not change: past the end of the real file there are none.
    """
    claim_regions(facts)
    space = facts.space._replace(length=MAX_FILE_OFFSET, end=MAX_FILE_OFFSET)
    return replace(facts, space=space, claimed_blocks=facts.stored.offsets != 0)


def _count(facts: CheckFacts) -> Iterator[int]:
    """Count all references in the order of the check; nothing is judged."""
    # Without these every entry's COPIED flag would cost a look at its refcount block.
    yield from facts.stored.note_ones(facts.space.clusters + 1)
    claim_regions(facts)
    claim_l2_tables(facts)
    yield from check_l2(facts)
    check_blocks(facts)


def _exhaust(steps: Iterator[int]) -> None:
    for _ in steps:
        pass
