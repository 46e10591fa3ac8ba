"""Guest data that the same trees have everywhere, told from the check's counts.

That is all data of an image without snapshots, and of one whose snapshots are all like the active
layer: then no table need be read again.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from qcow2_dump.checks.facts import CheckFacts
from qcow2_dump.checks.refcount_map import any_counts
from qcow2_dump.checks.space.use_map import UseMap
from qcow2_dump.checks.space.users import NOBODY

__all__ = ["claim_uniform_data"]

# Clusters looked at together. Small pieces: in a file full of holes few of them hold anything, and
# whatever of the users' codes is looked at takes memory from then on.
_PIECE = 1 << 16


def claim_uniform_data(facts: CheckFacts, uses: UseMap, codes: NDArray[np.int64]) -> bool:
    """Claim all data that L2 tables map, if all of it has the same users; else nothing.

    Everything else has claimed its clusters in ``uses`` already; ``codes`` (int64[tables]) says
    who has the data of each table. Returns whether there is nothing left to claim.
    """
    tables = facts.tables
    odd = tables.compressed | tables.unaligned | tables.invalid | tables.misread
    if facts.kept is not None or odd.any() or facts.counted.shared:
        return False
    mapping = np.flatnonzero(tables.used)
    if not len(mapping):
        return True
    found = _single_user(facts, uses, mapping, codes)
    if found is None or not _accounts_for_all(facts, uses, found, mapping):
        return False
    for start, data, _ in _data(facts, uses):
        uses.claim_unused(start, data, found.code)
    return True


class _User(NamedTuple):
    """Who has all data, and how many references each cluster of it has."""

    code: int
    references: int


def _single_user(
    facts: CheckFacts, uses: UseMap, mapping: NDArray[np.int64], codes: NDArray[np.int64]
) -> _User | None:
    """Who has a cluster that all tables of its L1 index map; None unless that is always the same.

    ``mapping`` are the tables that map anything (int64).
    """
    tables = facts.tables
    ordered = mapping[np.argsort(tables.l1_index[mapping], kind="stable")]
    index = tables.l1_index[ordered]
    heads = np.flatnonzero(np.append(True, index[1:] != index[:-1]))
    references = np.add.reduceat(tables.weight[ordered], heads)
    if int(references.min()) != int(references.max()):
        return None
    joined = uses.users.join_runs(codes[ordered], heads)
    if int(joined.min()) != int(joined.max()):
        return None
    return _User(int(joined[0]), int(references[0]))


def _accounts_for_all(
    facts: CheckFacts, uses: UseMap, user: _User, mapping: NDArray[np.int64]
) -> bool:
    """Whether all tables of an L1 index map each cluster that any of them does.

    Nothing has several owners, so that the number of references says it.
    """
    number = 0
    for _, data, counts in _data(facts, uses):
        number += int(np.count_nonzero(data))
        if (data & (counts != user.references)).any():
            return False
    tables = facts.tables
    expected = int((tables.weight[mapping] * tables.used[mapping]).sum())
    return number * user.references == expected


def _data(
    facts: CheckFacts, uses: UseMap
) -> Iterator[tuple[int, NDArray[np.bool_], NDArray[np.unsignedinteger]]]:
    """The referenced clusters that nobody has claimed, by pieces of the file.

    The first cluster of each piece, whether each is one of these (bool), and all its counts.
    """
    for start in range(0, uses.size, _PIECE):
        counts = facts.references.between(start, min(start + _PIECE, uses.size))
        if any_counts(counts):
            data = counts != 0
            data &= uses.codes[start : start + len(counts)] == NOBODY
            yield start, data, counts
