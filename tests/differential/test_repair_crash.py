"""Whatever moment a repair is stopped at: nothing is lost, and it can be taken back or finished.

A choice of cases by default, all of the corpus with QCOW2_DUMP_FULL=1 in the environment.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from tests.corpus.base import Base, copy_beside
from tests.corpus.bases import BASES
from tests.corpus.cases import Case, all_cases, fixed_cases, layout_of, materialize, path_of
from tests.corpus.damages import DAMAGES
from tests.differential.repair_plans import (
    Planner,
    apply_first,
    delete_first,
    faults_of,
    keep_last,
    plan_of,
    repair,
    repair_with,
)

FULL = os.environ.get("QCOW2_DUMP_FULL") == "1"
SUBSETS = 200 if FULL else 10
CASES = all_cases() if FULL else fixed_cases()[len(DAMAGES) : 2 * len(DAMAGES)]


def _cases(*damages: str) -> list[Case]:
    """Cases with these kinds of damage: some, or all."""
    found = [case for case in all_cases() if case.damage.name in damages]
    return found if FULL else found[:: len(damages) * 4]


def blocks_of(case: Case) -> set[int]:
    """The clusters of the refcount blocks before the damage."""
    layout = layout_of(case.base)
    return {slot.target // layout.cluster_size for slot in layout.refcount_table}


COSTLY: list[tuple[Planner, list[Case]]] = [
    (repair_with(reuse=True), _cases("l2-duplicate", "l2-to-metadata", "l1-duplicate")),
    (repair_with(drop_unusable=True), _cases("l2-outside", "l2-unaligned", "l1-outside")),
    (repair_with(drop_bitmaps=True), _cases("bitmap-directory", "bitmap-table")),
    (repair_with(drop_snapshots=(0,)), _cases("snapshot-l1-offset", "snapshot-l1-size")),
    (repair_with(free_orphans=True), _cases("l1-lost", "l2-table-overwritten")),
]
SNAPSHOTS = [base for base in BASES if "snapshots" in base.traits]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_stopped_anywhere(case: Case, tmp_path: Path) -> None:
    path = materialize(case, tmp_path)
    try:
        assert faults_of(path, repair, SUBSETS, blocks_of(case)) == set()
    finally:
        shutil.rmtree(path.parent)


@pytest.mark.parametrize(
    ("planner", "case"),
    [(planner, case) for planner, cases in COSTLY for case in cases],
    ids=lambda value: value.name if isinstance(value, Case) else "",
)
def test_stopped_where_something_is_given_up(planner: Planner, case: Case, tmp_path: Path) -> None:
    path = materialize(case, tmp_path)
    try:
        assert faults_of(path, planner, SUBSETS, blocks_of(case)) == set()
    finally:
        shutil.rmtree(path.parent)


@pytest.mark.parametrize(
    "planner", [apply_first, delete_first, keep_last], ids=lambda planner: planner.__name__
)
@pytest.mark.parametrize("base", SNAPSHOTS, ids=lambda base: base.name)
def test_stopped_between_snapshots(base: Base, planner: Planner, tmp_path: Path) -> None:
    """Neither layer is lost at any moment, and no write goes to what both have."""
    copy_beside(path_of(base).parent, tmp_path)
    path = tmp_path / "image.qcow2"
    with plan_of(path, planner) as plan:
        alone = len(layout_of(base).snapshots) == 1 and planner is keep_last
        assert plan.is_empty == alone
    assert faults_of(path, planner, SUBSETS) == set()
    path.unlink()


@pytest.mark.parametrize("damage", ["l1-table-overwritten", "l1-lost", "snapshot-l1-entry"])
def test_stopped_while_a_snapshot_rescues(damage: str, tmp_path: Path) -> None:
    """Applying a snapshot to an image whose tables are ruined."""
    cases = [c for c in all_cases() if c.damage.name == damage and "snapshots" in c.base.traits]
    for case in cases if FULL else cases[:3]:
        path = materialize(case, tmp_path)
        assert faults_of(path, apply_first, SUBSETS, blocks_of(case)) == set(), case.name
        shutil.rmtree(path.parent)
