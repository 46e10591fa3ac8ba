"""Triage against images of known content: no leak that was guest data is called waste.

A fixed part of the corpus by default, all of it with QCOW2_DUMP_FULL=1 in the environment. The
exceptions are counted here and explained in docs/triage.md.
"""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

import pytest

from tests.corpus.cases import Case, all_cases, fixed_cases, layout_of
from tests.corpus.damages import DAMAGES
from tests.corpus.layout import Kind
from tests.differential.misses import misses_of, references

FULL = os.environ.get("QCOW2_DUMP_FULL") == "1"
CASES = all_cases() if FULL else fixed_cases()

# Clusters over the whole corpus, by damage: freed, lowered.
EXPLAINED = {
    # One entry zeroed at the edge of a mapped stretch: as if its writer had died.
    "l2-lost": (2, 0),
    # Half of a sparse table zeroed: as if that part of the disk had never been written.
    "l2-table-overwritten": (15, 0),
    # The cluster stays, for the other streams in it.
    "compressed-moved": (0, 5),
    # The cluster stays, for the other trees that have it.
    "snapshot-l2-entry": (0, 1),
}


@pytest.mark.parametrize("damage", [damage.name for damage in DAMAGES])
def test_no_guest_data_is_called_waste(damage: str, tmp_path: Path) -> None:
    """But for the explained kinds, and not more of these than there were."""
    missed: Counter[str] = Counter()
    names = []
    for case in CASES:
        if case.damage.name != damage:
            continue
        found = misses_of(case, tmp_path)
        if found is None:
            continue
        missed.update(freed=len(found.freed), lowered=len(found.lowered))
        if found.freed or found.lowered:
            names.append(case.name)
    freed, lowered = EXPLAINED.get(damage, (0, 0))
    assert missed["freed"] <= freed, names
    assert missed["lowered"] <= lowered, names


def test_every_explained_kind_exists() -> None:
    assert EXPLAINED.keys() <= {damage.name for damage in DAMAGES}


def _case_of(base: str) -> Case:
    return next(case for case in all_cases() if case.base.name == base)


def test_references_are_what_the_tables_say() -> None:
    """Of a plain image: one of each data cluster, of its L2 table and of the L1 table."""
    layout = layout_of(_case_of("v3-64k").base)
    found = references(layout)
    data = [entry.target for entry in layout.mappings(layout.active, Kind.NORMAL)]
    tables = [layout.l1_offset, *(slot.target for slot in layout.active.l1)]
    assert found == Counter(offset // layout.cluster_size for offset in [*data, *tables])


def test_references_count_every_tree() -> None:
    """Shared clusters are known by as many references as QEMU stores."""
    found = references(layout_of(_case_of("snapshots-64k").base))
    assert max(found.values()) == 4
