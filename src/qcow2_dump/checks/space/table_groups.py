"""The tables of one L1 index beside each other: which of them map the same cluster."""

import numpy as np
from numpy.typing import NDArray

from qcow2_dump.checks.space.users import Users
from qcow2_dump.checks.tables.l2_batches import L2Batch
from qcow2_dump.ondisk.mapping import EntryFlag

__all__ = ["claims_of_groups", "distinct_streams"]

# Tables that are compared at a time, one bit each.
_TOGETHER = 64

_COPIED = np.uint64(int(EntryFlag.COPIED))

_Claims = tuple[NDArray[np.uint64], NDArray[np.int64]]


def claims_of_groups(
    offsets: NDArray[np.uint64], codes: NDArray[np.int64], members: int, users: Users
) -> _Claims:
    """The clusters that some tables map, and who uses each: offsets (uint64) and codes (int64).

    ``offsets`` is uint64[tables, entries], 0 where nothing is mapped, ``codes`` int64[tables];
    each ``members`` tables that follow each other have one L1 index. Few clusters are told twice.
    """
    columns = offsets.shape[1]
    stacked = offsets.reshape(-1, members, columns).swapaxes(0, 1).reshape(members, -1)
    of_groups = codes.reshape(-1, members)
    equal = (stacked == stacked[0]).all(axis=0)
    same = np.flatnonzero(equal & (stacked[0] != 0))
    whole = np.array([_code_of(row, users) for row in of_groups.tolist()], dtype=np.int64)
    parts: list[_Claims] = [(stacked[0, same], whole[same // columns])]
    differ = np.flatnonzero(~equal)
    if len(differ):
        for start in range(0, members, _TOGETHER):
            rows = slice(start, start + _TOGETHER)
            some = stacked[rows][:, differ]
            parts.append(_different(some, differ // columns, of_groups[:, rows], users))
    return np.concatenate([p[0] for p in parts]), np.concatenate([p[1] for p in parts])


def _code_of(codes: list[int], users: Users) -> int:
    """The code of all users of some codes."""
    mask = 0
    for code in codes:
        mask |= users.masks[code]
    return users.code(mask)


def _different(
    offsets: NDArray[np.uint64],
    group: NDArray[np.int64],
    codes: NDArray[np.int64],
    users: Users,
) -> _Claims:
    """The claims of columns in which tables differ: ``offsets`` is uint64[tables, columns]."""
    columns = np.ascontiguousarray(offsets.T)
    order = np.argsort(columns, axis=1, kind="stable")
    ordered = np.take_along_axis(columns, order, axis=1)
    is_head = np.ones(ordered.shape, dtype=np.bool_)
    is_head[:, 1:] = ordered[:, 1:] != ordered[:, :-1]
    heads = np.flatnonzero(is_head)
    bits = np.left_shift(np.uint64(1), order.astype(np.uint64)).reshape(-1)
    rows = np.bitwise_or.reduceat(bits, heads)
    values = ordered.reshape(-1)[heads]
    held = values != 0
    column = heads // ordered.shape[1]
    return values[held], _codes_of_rows(group[column[held]], rows[held], codes, users)


def _codes_of_rows(
    group: NDArray[np.int64], rows: NDArray[np.uint64], codes: NDArray[np.int64], users: Users
) -> NDArray[np.int64]:
    """The code of some rows of a group, one bit for each row, for many such: int64."""
    distinct, which = np.unique(rows, return_inverse=True)
    keys, back = np.unique(group * len(distinct) + which, return_inverse=True)
    joined = np.empty(len(keys), dtype=np.int64)
    for at, key in enumerate(keys.tolist()):
        chosen, mask = int(distinct[key % len(distinct)]), 0
        of_rows = codes[key // len(distinct)]
        while chosen:
            row = (chosen & -chosen).bit_length() - 1
            mask |= users.masks[int(of_rows[row])]
            chosen &= chosen - 1
        joined[at] = users.code(mask)
    return joined[back]


def distinct_streams(batch: L2Batch, packed: NDArray[np.bool_]) -> NDArray[np.uint64]:
    """The compressed entries of a batch, each once however many tables of an L1 index have it."""
    raw = np.where(packed, batch.entries & ~_COPIED, np.uint64(0))
    if batch.members == 1:
        return raw[packed]
    stacked = raw.reshape(-1, batch.members, raw.shape[1])
    stacked = np.sort(stacked, axis=1)
    fresh = np.ones(stacked.shape, dtype=np.bool_)
    fresh[:, 1:] = stacked[:, 1:] != stacked[:, :-1]
    streams: NDArray[np.uint64] = stacked[fresh & (stacked != 0)]
    return streams
