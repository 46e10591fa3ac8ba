"""L2 entries cut into runs, put together again."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from qcow2_dump.checks.tables.entry_runs import EntryRuns, entry_runs

SIZE = 512
COPIED = 1 << 63
COLUMNS = 64


def joined(runs: EntryRuns, rows: int) -> list[list[int]]:
    """The tables that some runs stand for."""
    tables = [[0] * COLUMNS for _ in range(rows)]
    for row, column, length, raw in zip(
        runs.row.tolist(),
        runs.column.tolist(),
        runs.length.tolist(),
        runs.raw.tolist(),
        strict=True,
    ):
        for step in range(length):
            assert tables[row][column + step] == 0
            tables[row][column + step] = raw + step * SIZE
    return tables


stretches = st.lists(
    st.tuples(
        st.integers(0, 40),
        st.sampled_from([0, 1 << 20, COPIED | 1 << 20, COPIED | SIZE, SIZE, COPIED]),
        st.booleans(),
    ),
    min_size=1,
    max_size=30,
)


@given(stretches, st.integers(1, 4))
def test_runs_hold_every_entry(made: list[tuple[int, int, bool]], rows: int) -> None:
    entries: list[int] = []
    for length, raw, ascending in made:
        step = SIZE if ascending and raw else 0
        entries += [raw + step * at for at in range(length)]
    entries = (entries + [0] * COLUMNS * rows)[: COLUMNS * rows]
    table = np.array(entries, dtype=np.uint64).reshape(rows, COLUMNS)
    runs = entry_runs(table, SIZE)
    if runs is not None:
        assert joined(runs, rows) == table.tolist()


def test_a_run_ends_with_its_table() -> None:
    table = (np.arange(2 * COLUMNS, dtype=np.uint64) + np.uint64(9)) * np.uint64(SIZE)
    runs = entry_runs(table.reshape(2, COLUMNS), SIZE)
    assert runs is not None
    assert runs.row.tolist() == [0, 1]
    assert runs.column.tolist() == [0, 0]
    assert runs.length.tolist() == [COLUMNS, COLUMNS]


def test_a_nearly_empty_table_has_few_runs() -> None:
    table = np.zeros((4, COLUMNS), dtype=np.uint64)
    table[2, 5:8] = [7 * SIZE, 8 * SIZE, 9 * SIZE]
    runs = entry_runs(table, SIZE)
    assert runs is not None
    assert (runs.row.tolist(), runs.column.tolist(), runs.length.tolist()) == ([2], [5], [3])


def test_no_offset_and_the_first_cluster_behind_are_no_run() -> None:
    table = np.zeros((1, COLUMNS), dtype=np.uint64)
    table[0, 9:12] = [SIZE, 2 * SIZE, 3 * SIZE]
    assert entry_runs(table, SIZE) is None


def test_clusters_in_no_order_are_not_worth_it() -> None:
    entries = np.random.default_rng(3).permutation(COLUMNS * 4).astype(np.uint64) * np.uint64(SIZE)
    assert entry_runs(entries.reshape(4, COLUMNS), SIZE) is None
