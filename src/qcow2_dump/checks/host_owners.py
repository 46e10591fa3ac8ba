"""Who claims one host cluster, and its stored and counted refcount."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from qcow2_dump.checks.claimants import ClaimantFinder
from qcow2_dump.checks.facts import CheckFacts
from qcow2_dump.checks.findings import Claimant, FindingLog
from qcow2_dump.checks.pass_l1 import claim_l2_tables
from qcow2_dump.checks.pass_l2 import check_l2
from qcow2_dump.checks.pass_refcounts import check_blocks
from qcow2_dump.checks.pass_regions import claim_regions
from qcow2_dump.checks.refcount_map import RefcountMap
from qcow2_dump.image.image import Image
from qcow2_dump.image.refcount_lookup import StoredRefcount, stored_refcount

__all__ = ["HostLocation", "locate_host"]

_COUNTER_BITS = (8, 16, 32, 64)


@dataclass(frozen=True, slots=True)
class HostLocation:
    """The answer for a host offset in bytes.

    ``inside`` is False past the end of the file, where no claims are looked for. ``counted`` is
    the number of references to the cluster, ``claimants`` those who make them, of which there
    are ``claimants_total``: equal claims of several trees are one owner.
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
    stored = stored_refcount(image, cluster)
    if offset >= image.source.size:
        return HostLocation(offset, False, stored, 0, (), 0)
    facts = CheckFacts.of(image, FindingLog(limit=0))
    for bits in _COUNTER_BITS:
        facts.references = RefcountMap(facts.references.size, bits)
        _exhaust(_count(facts))
        if not facts.references.overflowed:
            break
    finder = ClaimantFinder(facts, np.array([cluster], dtype=np.int64))
    _exhaust(finder.find())
    claims = finder.claims[cluster]
    counted = int(facts.references.counts[cluster])
    owners = tuple(claims.owners.values())
    return HostLocation(offset, True, stored, counted, owners, claims.total)


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
