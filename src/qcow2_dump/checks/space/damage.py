"""Which clusters of the file are damaged: all of them, though findings are capped.

A cluster is damaged where it holds a field that is wrong, where its stored refcount is lower than
its references, or where it has owners that exclude each other.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from qcow2_dump.checks.bitset import BitSet
from qcow2_dump.checks.catalogue import RULES, Severity
from qcow2_dump.checks.facts import CheckFacts
from qcow2_dump.checks.mapping.entry_classes import l2_faults
from qcow2_dump.checks.tables.l2_batches import L2Batch, read_l2_batches
from qcow2_dump.ondisk import arrays

__all__ = ["find_damage"]

_TABLE_CODES = frozenset(code for code in RULES if code.startswith("l2."))


def find_damage(facts: CheckFacts, low: BitSet, damaged: BitSet) -> Iterator[int]:
    """Put the damaged clusters into a set of as many as `HostSpace.clusters`.

    ``low`` are the clusters whose stored refcount is lower than their references. Yields the bytes
    of L2 tables read so far, if there is a reason to read any. Raises SourceError when that fails.
    """
    for code in facts.log.tallies:
        if RULES[code].severity is Severity.CORRUPTION:
            _add_listed(facts, code, damaged)
    _add(facts, damaged, facts.tables.offset[(facts.tables.invalid + facts.tables.unaligned) > 0])
    damaged.update(low)
    if facts.log.places("cluster.shared") > len(facts.log.kept("cluster.shared")):
        damaged.update(facts.counted.shared)
    if any(
        facts.log.tallies[code].places > len(facts.log.kept(code))
        for code in _TABLE_CODES & facts.log.tallies.keys()
        if RULES[code].severity is Severity.CORRUPTION
    ):
        yield from _walk(facts, damaged)


def _add_listed(facts: CheckFacts, code: str, damaged: BitSet) -> None:
    bits = facts.space.cluster_bits
    places = []
    for finding in facts.log.kept(code):
        if finding.cluster is not None:
            places.append(finding.cluster)
        elif finding.offset is not None:
            places.append(finding.offset >> bits)
    indices = np.array(places, dtype=np.int64)
    damaged.add(indices[indices < damaged.size])


def _add(facts: CheckFacts, damaged: BitSet, offsets: NDArray[np.int64]) -> None:
    indices = offsets >> facts.space.cluster_bits
    damaged.add(indices[indices < damaged.size])


def _walk(facts: CheckFacts, damaged: BitSet) -> Iterator[int]:
    """Look at every L2 table again: more entries are wrong than findings are kept."""
    geometry, done = facts.image.geometry, 0
    for batch in read_l2_batches(facts.image.source, geometry, facts.tables):
        _add(facts, damaged, facts.tables.offset[batch.tables[_wrong_tables(facts, batch)]])
        done += batch.entries.size * geometry.l2_entry_size
        yield done


def _wrong_tables(facts: CheckFacts, batch: L2Batch) -> NDArray[np.bool_]:
    """Which tables of a batch hold an entry that is wrong: bool[rows]."""
    header = facts.image.header
    types = arrays.cluster_types(
        batch.entries, extended_l2=header.extended_l2, data_file=header.has_data_file
    )
    wrong = np.zeros(len(batch.tables), dtype=np.bool_)
    for code, fault in l2_faults(batch.entries, types, batch.bitmaps, header).items():
        if RULES[code].severity is Severity.CORRUPTION:
            wrong |= fault.any(axis=1)
    active = np.flatnonzero(facts.tables.active[batch.tables])
    if len(active) and not header.has_data_file:
        wrong[active] |= _wrong_copied(facts, batch.entries[active])
    return wrong


def _wrong_copied(facts: CheckFacts, entries: NDArray[np.uint64]) -> NDArray[np.bool_]:
    """Which tables of the active layer hold a COPIED flag that is wrong: bool[rows]."""
    packed = (entries >> np.uint64(62) & np.uint64(1)).astype(np.bool_)
    offsets = arrays.l2_offsets(entries)
    row, column = np.nonzero((offsets != 0) & ~packed & (offsets < np.uint64(facts.space.end)))
    clusters = facts.cluster_indices(offsets[row, column])
    copied = (entries[row, column] >> np.uint64(63)).astype(np.bool_)
    wrong = np.zeros(len(entries), dtype=np.bool_)
    wrong[row[facts.stored.is_one(clusters) != copied]] = True
    return wrong
