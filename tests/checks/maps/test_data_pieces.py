"""Pieces of data: counted and listed alike, whether they come as extents or as clusters."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qcow2_dump.checks.maps.data_pieces import DataPieces, GuestExtents
from qcow2_dump.image.plain_clusters import PlainClusters
from qcow2_dump.ondisk.mapping import ClusterType

_SIZE = 512

# Few places, so that many clusters follow the one before; 0 stands for none.
_PLACES = st.lists(st.lists(st.integers(0, 5), min_size=1, max_size=12), min_size=1, max_size=5)


def _expected(places: list[int]) -> list[tuple[int, int, int]]:
    """The pieces in clusters, one by one."""
    found: list[tuple[int, int, int]] = []
    for guest, host in enumerate(places):
        if not host:
            continue
        if found and sum(found[-1][::2]) == guest and sum(found[-1][1:]) == host:
            found[-1] = (*found[-1][:2], found[-1][2] + 1)
        else:
            found.append((guest, host, 1))
    return found


def _clusters(first: int, places: list[int]) -> PlainClusters:
    host = np.array([place * _SIZE for place in places], dtype=np.int64)
    return PlainClusters.make(first * _SIZE, _SIZE, host)


def _data(clusters: PlainClusters) -> GuestExtents:
    batch = clusters.extents()
    data = batch.take(batch.type == ClusterType.NORMAL)
    return GuestExtents(data.start, data.host, data.length)


@pytest.mark.parametrize("most", [3, 1000])
@given(_PLACES, st.lists(st.booleans(), min_size=5, max_size=5))
def test_pieces_are_those_that_one_finds_one_by_one(
    most: int, parts: list[list[int]], as_clusters: list[bool]
) -> None:
    pieces, at = DataPieces(most), 0
    for part, whole in zip(parts, as_clusters, strict=False):
        clusters = _clusters(at, part)
        if whole:
            pieces.take_clusters(clusters)
        else:
            pieces.take(_data(clusters))
        at += len(part)
    expected = _expected([place for part in parts for place in part])
    found, counted = pieces.extents(), pieces.fragmentation
    assert (found is None) == (len(expected) > most)
    if found is not None:
        columns = (column // _SIZE for column in (found.guest, found.host, found.length))
        assert list(zip(*(column.tolist() for column in columns), strict=True)) == expected
    lengths = [piece[2] * _SIZE for piece in expected]
    assert counted.pieces == len(lengths)
    assert (counted.data, counted.largest) == (sum(lengths), max(lengths, default=0))
    by_size = Counter(length.bit_length() - 1 for length in lengths)
    assert {n: by for n, by in enumerate(counted.by_size.tolist()) if by} == by_size
