"""Clusters with more than one owner, and the owners of clusters with too low a refcount.

The walk has marked what looks shared (`RefcountMap.shared`); this pass names the owners. QEMU
sees none of it while the refcount matches the number of references.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from qcow2_dump.checks.facts import CheckFacts
from qcow2_dump.checks.findings import LEAST_KEPT, Claimant, Finding
from qcow2_dump.checks.owners.claimants import ClaimantFinder
from qcow2_dump.checks.owners.claims import GUEST_KINDS, Claims
from qcow2_dump.checks.trees import LISTED_TREES
from qcow2_dump.ondisk import arrays

__all__ = ["SharingFacts", "check_sharing", "suspects_examined"]

# Owners of one cluster that a finding carries; their number is always told.
_LISTED_CLAIMANTS = 64


@dataclass(slots=True)
class SharingFacts:
    """What triage needs to know: is guest data in doubt because a cluster is claimed twice?

    ``conflicts`` counts clusters that two guest addresses, or guest data and metadata, claim;
    clusters that were too many to examine count as such. ``unstored`` counts clusters that a
    mapping entry points to though their stored refcount is 0; those not listed count as well.
    """

    conflicts: int = 0
    unstored: int = 0


def suspects_examined(facts: CheckFacts) -> int:
    """Of how many clusters that look shared the owners are named, the first ones."""
    return max(facts.log.limit, LEAST_KEPT)


def check_sharing(facts: CheckFacts, found: SharingFacts) -> Iterator[int]:
    """Name the owners of shared clusters. Yields the bytes of L2 tables read so far."""
    shared = facts.counted.shared
    low = [finding for finding in facts.log.kept("refcount.low") if finding.cluster is not None]
    suspects = shared.first(suspects_examined(facts))
    found.unstored = facts.refcounts.rebuild
    named = np.array([f.cluster for f in low], dtype=np.int64)
    wanted = arrays.distinct(np.concatenate([suspects, named]))
    if not len(wanted) and not len(shared):
        return
    finder = ClaimantFinder(facts, wanted.astype(np.int64))
    yield from finder.find()
    _report_shared(facts, found, suspects.tolist(), finder.claims)
    facts.log.replace("refcount.low", (_with_owners(facts, f, finder.claims) for f in low))
    for finding in low:
        kinds = {kind for kind, _ in finder.claims[int(finding.cluster or 0)].owners}
        found.unstored -= int(finding.value == 0 and not kinds & (GUEST_KINDS | {"l2"}))


def _report_shared(
    facts: CheckFacts, found: SharingFacts, suspects: list[int], claims: dict[int, Claims]
) -> None:
    real = [cluster for cluster in suspects if _is_shared(claims[cluster])]
    unexamined = len(facts.counted.shared) - len(suspects)
    found.conflicts = unexamined + sum(_is_conflict(claims[cluster]) for cluster in real)
    # Of those unexamined none can be told, so they count only where no more are kept; most of the
    # clusters that are shared by mistake hold guest data, as most of all clusters do.
    untold = unexamined if len(real) >= facts.log.room("cluster.shared") else 0

    def make(i: int) -> Finding:
        return _shared_finding(facts, real[i], claims[real[i]])

    facts.log.add_many(
        "cluster.shared",
        len(real) + untold,
        make,
        count=0,
        guest_bytes=facts.space.cluster_size * (sum(_has_guest(claims[c]) for c in real) + untold),
    )


def _is_shared(claims: Claims) -> bool:
    return claims.total > 1 and bool(claims.kinds - {"compressed"})


def _has_guest(claims: Claims) -> bool:
    return any(kind in GUEST_KINDS for kind, _ in claims.owners)


def _is_conflict(claims: Claims) -> bool:
    """Whether guest data has a second owner: repair rules, section 1, (d).

    Of one guest address all trees that share it are one owner. Two trees that have a cluster at
    different addresses cannot both be right either.
    """
    return any(kind in GUEST_KINDS for kind, _ in claims.owners)


def _shared_finding(facts: CheckFacts, cluster: int, claims: Claims) -> Finding:
    size = facts.space.cluster_size
    owners = tuple(claims.owners.values())
    guest = next((o.guest_offset for o in owners if o.kind in GUEST_KINDS), None)
    references = facts.counted.number(cluster)
    stored = int(facts.stored.values_of(np.array([cluster], dtype=np.int64))[0])
    return Finding(
        code="cluster.shared",
        message=f"cluster {cluster} at {cluster * size:#x} has {claims.number} owners "
        f"({references} references, refcount {stored})",
        offset=owners[0].offset,
        value=stored,
        cluster=cluster,
        claimants=owners[:_LISTED_CLAIMANTS],
        claimants_total=claims.total,
        trees=_all_trees(owners),
        trees_total=_trees_total(owners),
        guest_offset=guest,
        guest_length=None if guest is None else facts.guest_length(guest, size),
    )


def _with_owners(facts: CheckFacts, finding: Finding, claims: dict[int, Claims]) -> Finding:
    """A finding about a cluster, with its owners and the first guest range that it holds."""
    owned = claims[int(finding.cluster or 0)]
    owners = tuple(owned.owners.values())
    guest = next((o.guest_offset for o in owners if o.kind in GUEST_KINDS), None)
    length = None if guest is None else facts.guest_length(guest, facts.space.cluster_size)
    return replace(
        finding,
        claimants=owners[:_LISTED_CLAIMANTS],
        claimants_total=owned.total,
        trees=_all_trees(owners),
        trees_total=_trees_total(owners),
        guest_offset=guest,
        guest_length=length,
    )


def _all_trees(owners: tuple[Claimant, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(label for owner in owners for label in owner.trees))[:LISTED_TREES]


def _trees_total(owners: tuple[Claimant, ...]) -> int:
    """How many trees reach a cluster: at least those of the owner with the most."""
    named = len(dict.fromkeys(label for owner in owners for label in owner.trees))
    return (
        max((owner.trees_total for owner in owners), default=0) if named >= LISTED_TREES else named
    )
