"""Our totals equal those of the real `qemu-img check` on damaged images.

A fixed part of the corpus by default, all of it with QCOW2_DUMP_FULL=1 in the environment.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from tests.builder.build import build
from tests.builder.spec import Data, ImageSpec
from tests.corpus.base import Base
from tests.corpus.bases import BASES
from tests.corpus.cases import Case, all_cases, fixed_cases, materialize, path_of
from tests.differential import judge

FULL = os.environ.get("QCOW2_DUMP_FULL") == "1"


@pytest.mark.parametrize("base", BASES, ids=lambda base: base.name)
def test_sound_image(base: Base) -> None:
    """Images as QEMU left them: every number agrees."""
    assert judge.differences(path_of(base), encrypted=base.encrypted) == []


@pytest.mark.parametrize("case", all_cases() if FULL else fixed_cases(), ids=lambda case: case.name)
def test_damaged_image(case: Case, tmp_path: Path) -> None:
    """Damaged images: the same counts, or a reason where qemu-img refuses."""
    path = materialize(case, tmp_path)
    try:
        assert judge.of_case(case, path) == []
    finally:
        # pytest keeps temporary folders of several runs; these would fill a disk.
        shutil.rmtree(path.parent)


def test_an_l1_entry_without_an_offset_into_a_data_file(tmp_path: Path) -> None:
    """QEMU reads the header as an L2 table then, and judges all of it but the COPIED flags."""
    content = {at: Data(1) for at in range(4)}
    spec = ImageSpec(cluster_bits=9, virtual_size=1 << 17, content=content, data_file="data.raw")
    built = build(spec)
    built.set_l1(2, 1 << 57)
    path = built.write_to(tmp_path / "image.qcow2")
    assert judge.differences(path, encrypted=False) == []
