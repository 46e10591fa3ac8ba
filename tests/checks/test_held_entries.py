"""The entries that hold something, found with and without copies."""

import numpy as np
import pytest

from qcow2_dump.checks.mapping.held_entries import HeldEntries, count_held


@pytest.mark.parametrize("columns", [4, 511, 512, 1024])
@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_what_is_held(columns: int, share: float) -> None:
    rng = np.random.default_rng(columns)
    rows = rng.integers(1, 1 << 40, (3, columns)).astype(np.uint64) << np.uint64(9)
    rows[rng.random(rows.shape) >= share] = 0
    counts = count_held(rows)
    assert counts.tolist() == [sum(1 for value in row if value) for row in rows.tolist()]
    held = HeldEntries.of(rows, counts, 9)
    flat = rows.reshape(-1).tolist()
    places = [at for at, value in enumerate(flat) if value]
    assert held.offsets.tolist() == [flat[at] for at in places]
    assert held.clusters.tolist() == [flat[at] >> 9 for at in places]
    assert held.places(np.arange(len(places))).tolist() == places
    assert held.same_of(rows + np.uint64(1)).tolist() == [flat[at] + 1 for at in places]


def test_full_tables_are_not_copied() -> None:
    rows = np.ones((2, 600), dtype=np.uint64)
    held = HeldEntries.of(rows, count_held(rows), 9)
    assert held.positions is None
    assert np.shares_memory(held.offsets, rows)
