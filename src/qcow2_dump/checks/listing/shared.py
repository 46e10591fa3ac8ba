"""Every cluster with more than one owner, in host order, and all that is known of its owners.

The check keeps as many of them as it keeps findings; a list has all.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from qcow2_dump.checks.facts import CheckFacts
from qcow2_dump.checks.findings import Claimant
from qcow2_dump.checks.owners.claimants import ClaimantFinder

__all__ = ["SharedListed", "list_shared"]

# Clusters whose owners are looked for in one walk over the tables.
_CLUSTERS = 1 << 14


@dataclass(frozen=True, slots=True)
class SharedListed:
    """A cluster with several owners; ``total`` counts those that ``owners`` leaves out, too."""

    cluster: int
    stored: int
    references: int
    owners: tuple[Claimant, ...]
    total: int


def list_shared(facts: CheckFacts) -> Iterator[SharedListed]:
    """Name the owners of all suspects of a check; walks the tables once for some thousands.

    Compressed streams may share a cluster with each other. Raises SourceError when a table
    cannot be read.
    """
    for chunk in facts.references.shared.chunks():
        for start in range(0, len(chunk), _CLUSTERS):
            clusters = chunk[start : start + _CLUSTERS]
            finder = ClaimantFinder(facts, clusters)
            for _ in finder.find():
                pass
            stored = facts.stored.values_of(clusters)
            for cluster, refcount in zip(clusters.tolist(), stored.tolist(), strict=True):
                claims = finder.claims[cluster]
                kinds = {kind for kind, _ in claims.owners}
                if claims.total > 1 and kinds != {"compressed"}:
                    references = int(facts.references.counts[cluster])
                    owners = tuple(claims.owners.values())
                    yield SharedListed(cluster, refcount, references, owners, claims.total)
