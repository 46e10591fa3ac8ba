"""Repairing the corpus: against `qemu-img check -r all`, and against the undamaged disks.

Every kind of damage once by default, all of the corpus with QCOW2_DUMP_FULL=1 in the environment.
`python -m tests.differential.repair_compare` prints the table.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.corpus.base import Base, copy_beside
from tests.corpus.bases import BASES
from tests.corpus.cases import Case, all_cases, fixed_cases, path_of
from tests.corpus.damages import DAMAGES
from tests.differential.repair_case import REPAIR, examine
from tests.differential.repair_judge import complaints
from tests.differential.repair_ours import run, undo_files

FULL = os.environ.get("QCOW2_DUMP_FULL") == "1"
CASES = all_cases() if FULL else fixed_cases()[: len(DAMAGES)]
SOUND = [base for base in BASES if not base.unclean]


def test_every_kind_of_damage_occurs() -> None:
    assert {case.damage.name for case in CASES} == {damage.name for damage in DAMAGES}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_damaged_image(case: Case, tmp_path: Path) -> None:
    """Mended wherever QEMU mends it, nothing lost, nothing left to do, and taken back."""
    assert complaints(examine(case, tmp_path)) == []


@pytest.mark.parametrize("base", SOUND, ids=lambda base: base.name)
def test_a_sound_image_stays_as_it_is(base: Base, tmp_path: Path) -> None:
    """Byte for byte, and without an undo file."""
    copy_beside(path_of(base).parent, tmp_path)
    path = tmp_path / "image.qcow2"
    original = path.read_bytes()
    ran = run(*REPAIR, path)
    assert (ran.status, ran.err) == (0, ""), ran
    assert path.read_bytes() == original
    assert undo_files(path) == []
    path.unlink()
