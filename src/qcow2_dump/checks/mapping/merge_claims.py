"""Claims of L2 tables that serve one guest range: equal entries are one claim.

Snapshots legally share clusters: two trees that map a guest address to the same host cluster are
one owner. Two tables that map it to different clusters are two claims of two clusters, and a
cluster that turns up at two guest addresses has two owners.
"""

import numpy as np
from numpy.typing import NDArray

__all__ = ["merge_claims"]

_Claims = tuple[NDArray[np.uint64], NDArray[np.int64], NDArray[np.int64]]


def merge_claims(
    offsets: NDArray[np.uint64], weights: NDArray[np.int64], owns: NDArray[np.int64]
) -> _Claims:
    """Join the equal entries of each column.

    ``offsets`` is uint64[tables, entries], 0 where nothing is claimed: the entries of several
    groups of tables side by side. ``weights`` and ``owns`` are int64[tables, groups]. Returns the
    distinct claims as host offsets (uint64), weights and own weights (int64), three arrays of one
    length.
    """
    columns = offsets.shape[1] // weights.shape[1]
    equal = (offsets == offsets[0]).all(axis=0)
    same = np.flatnonzero(equal & (offsets[0] != 0))
    group = same // columns
    differ = np.flatnonzero(~equal)
    others = differ // columns
    parts = [
        (offsets[0, same], weights.sum(axis=0)[group], owns.sum(axis=0)[group]),
        _merge_columns(offsets[:, differ], weights[:, others], owns[:, others]),
    ]
    return (
        np.concatenate([part[0] for part in parts]),
        np.concatenate([part[1] for part in parts]),
        np.concatenate([part[2] for part in parts]),
    )


def _merge_columns(
    offsets: NDArray[np.uint64], weights: NDArray[np.int64], owns: NDArray[np.int64]
) -> _Claims:
    columns = np.ascontiguousarray(offsets.T)
    order = np.argsort(columns, axis=1, kind="stable")
    ordered = np.take_along_axis(columns, order, axis=1)
    is_head = np.ones(ordered.shape, dtype=np.bool_)
    is_head[:, 1:] = ordered[:, 1:] != ordered[:, :-1]
    heads = np.flatnonzero(is_head)
    if not len(heads):
        none = np.zeros(0, dtype=np.int64)
        return none.view(np.uint64), none, none
    values = ordered.reshape(-1)[heads]
    summed = np.add.reduceat(np.take_along_axis(weights.T, order, axis=1).reshape(-1), heads)
    own = np.add.reduceat(np.take_along_axis(owns.T, order, axis=1).reshape(-1), heads)
    held = values != 0
    return values[held], summed[held], own[held]
