"""Which host clusters hold metadata: what triage compares leaked clusters with."""

import numpy as np

from qcow2_dump.checks.bitset import BitSet
from qcow2_dump.checks.facts import CheckFacts

__all__ = ["metadata_clusters"]


def metadata_clusters(facts: CheckFacts) -> BitSet:
    """The clusters of all metadata structures in the file; bitmap data is none."""
    found = BitSet(facts.references.size)
    for region in facts.regions:
        if not facts.space.is_beyond(region.offset, region.length):
            first, end = facts.space.span(region.offset, region.length)
            found.add(np.arange(first, end, dtype=np.int64))
    tables = facts.tables.offset[facts.tables.offset < facts.space.end]
    found.add(tables >> facts.space.cluster_bits)
    found.add(facts.cluster_indices(facts.stored.offsets[facts.claimed_blocks]))
    return found
