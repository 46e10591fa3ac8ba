"""What `du` says that deleting snapshots frees, against `qemu-img snapshot -d`, per cluster.

QEMU writes a new snapshot table and drops the old one, and keeps bitmaps in order when it closes
an image: clusters of these say nothing about the snapshot. So does a new refcount block.
"""

from __future__ import annotations

import itertools
import os
import shutil
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from qcow2_dump.checks.space.doubts import doubts_of
from qcow2_dump.checks.space.summing import sum_up
from qcow2_dump.checks.space.survey import Survey
from qcow2_dump.checks.space.users import Use, trees_in
from qcow2_dump.errors import Qcow2Error
from qcow2_dump.image.image import open_image
from tests.builder.build import build
from tests.builder.sound_specs import SOUND_SPECS
from tests.checks.space.surveys import surveyed
from tests.corpus import qemu
from tests.corpus.base import Base, copy_beside
from tests.corpus.bases import BASES
from tests.corpus.cases import Case, all_cases, materialize, path_of
from tests.corpus.imagefile import ImageFile
from tests.support.recount import Recount
from tests.support.tools import require_tool

_MOST_ALONE, _MOST_PAIRS = 6, 6

# What QEMU itself writes anew; blocks appear where the new table needs them.
_OF_QEMU = Use.SNAPSHOT_TABLE | Use.BITMAPS | Use.REFCOUNT_BLOCK
_OF_OTHERS = Use.HEADER | Use.REFCOUNT_TABLE | Use.LUKS

# With these doubts the prediction holds all the same.
_HARMLESS = {"damaged", "overcounted"}


@dataclass(frozen=True)
class Prediction:
    """Clusters that go, by index, and all whose refcount says something about snapshots."""

    freed: frozenset[int]
    telling: frozenset[int]


def predict(survey: Survey, trees: tuple[int, ...]) -> Prediction:
    """What deleting the snapshots at some positions frees; the sum must be that of `du`."""
    masks = survey.uses.users.masks
    gone = sum(1 << tree for tree in trees)
    size, length = survey.space.cluster_size, survey.space.length
    freed, telling = set(), set()
    for cluster, code in enumerate(survey.uses.codes[: survey.space.clusters].tolist()):
        held = trees_in(masks[code])
        if not masks[code] & _OF_QEMU:
            telling.add(cluster)
            if held and not held & ~gone and not masks[code] & _OF_OTHERS:
                freed.add(cluster)
    for wrong in (survey.leaks.overcounted, survey.leaks.undercounted):
        freed -= {cluster for chunk in wrong.chunks() for cluster in chunk.tolist()}
    told = sum_up(survey).freed_by(trees)
    assert told == sum(min(size, length - cluster * size) for cluster in freed)
    return Prediction(frozenset(freed), frozenset(telling))


def names_of(path: Path) -> list[str]:
    with open_image(path) as image:
        return [entry.record.name.decode() for entry in image.snapshot_table.entries]


def delete(path: Path, name: str, *, encrypted: bool) -> None:
    if encrypted:
        secret = f"driver=qcow2,encrypt.key-secret=s,file.filename={path}"
        qemu.img("snapshot", *qemu.SECRET, "--image-opts", "-d", name, secret)
    else:
        qemu.img("snapshot", "-d", name, path)


def in_use(path: Path) -> set[int]:
    return {cluster for cluster, refcount in Recount(path).stored.items() if refcount}


def of_qemu(path: Path) -> set[int]:
    """The clusters of an image that are the snapshot table, bitmaps, or refcount blocks."""
    with surveyed(path) as survey:
        masks = survey.uses.users.masks
        return {c for c, code in enumerate(survey.uses.codes.tolist()) if masks[code] & _OF_QEMU}


def judge(
    path: Path, folder: Path, prediction: Prediction, names: list[str], *, encrypted: bool
) -> None:
    """Delete snapshots in a copy, and compare every cluster."""
    before = in_use(path)
    shutil.rmtree(folder, ignore_errors=True)
    copy_beside(path.parent, folder)
    copied = folder / path.name
    for name in names:
        delete(copied, name, encrypted=encrypted)
    after = in_use(copied) - of_qemu(copied)
    for cluster in prediction.telling & before:
        assert (cluster not in after) == (cluster in prediction.freed), (names, cluster)
    assert prediction.freed <= before
    shutil.rmtree(folder)


def judge_all(path: Path, tmp_path: Path, *, encrypted: bool = False) -> None:
    """Each snapshot by itself, sets of two, and all of them."""
    names = names_of(path)
    positions = range(1, len(names) + 1)[:_MOST_ALONE]
    pairs = list(itertools.combinations(positions, 2))[:_MOST_PAIRS]
    sets = [*((p,) for p in positions), *pairs, tuple(range(1, len(names) + 1))]
    with surveyed(path) as survey:
        predictions = [predict(survey, trees) for trees in sets]
    for trees, prediction in zip(sets, predictions, strict=True):
        chosen = [names[tree - 1] for tree in trees]
        judge(path, tmp_path / "copy", prediction, chosen, encrypted=encrypted)


@pytest.mark.parametrize(
    "base", [base for base in BASES if "snapshots" in base.traits], ids=lambda base: base.name
)
def test_the_corpus(base: Base, tmp_path: Path) -> None:
    require_tool("qemu-img", "what deleting snapshots frees")
    judge_all(path_of(base), tmp_path, encrypted=base.encrypted)


@pytest.mark.parametrize(
    "name",
    [
        name
        for name, spec in SOUND_SPECS.items()
        # QEMU is told a name, so there must be one such snapshot.
        if len({snapshot.name for snapshot in spec.snapshots}) == len(spec.snapshots) > 0
    ],
)
def test_built_images(name: str, tmp_path: Path) -> None:
    require_tool("qemu-img", "what deleting snapshots frees")
    (tmp_path / "image").mkdir()
    path = build(SOUND_SPECS[name]).write_to(tmp_path / "image" / "t.qcow2")
    judge_all(path, tmp_path)


@pytest.mark.parametrize("name", ["snapshots-64k", "packed"])
def test_what_has_too_high_a_refcount_is_not_freed(name: str, tmp_path: Path) -> None:
    require_tool("qemu-img", "what deleting snapshots frees")
    base = next(base for base in BASES if base.name == name)
    copy_beside(path_of(base).parent, tmp_path / "image")
    path = tmp_path / "image" / path_of(base).name
    image = Recount(path)
    with ImageFile(path) as file:
        for cluster, refcount in image.stored.items():
            if refcount and cluster % 7 == 0:
                block, within = divmod(cluster, image.per_block)
                file.put(image.blocks[block] + 2 * within, refcount + 1, 2)
    with surveyed(path) as survey:
        assert sum_up(survey).overcounted
    judge_all(path, tmp_path)


_DAMAGED = [
    case for case in all_cases() if "snapshots" in case.base.traits and not case.base.encrypted
]


@pytest.mark.parametrize("case", _DAMAGED[::11], ids=lambda case: case.name)
def test_of_damaged_images_it_is_right_or_says_that_it_may_not_be(
    case: Case, tmp_path: Path
) -> None:
    require_tool("qemu-img", "what deleting snapshots frees")
    path = materialize(case, tmp_path)
    try:
        with surveyed(path) as survey:
            kinds = {doubt.kind for doubt in doubts_of(survey, sum_up(survey))}
            names = [entry.record.name for entry in survey.facts.image.snapshot_table.entries]
            predictions = [predict(survey, (tree,)) for tree in range(1, len(names) + 1)]
    except Qcow2Error:
        return
    if kinds - _HARMLESS or len(set(names)) < len(names):
        return
    for name, prediction in zip(names, predictions, strict=True):
        if b"\0" in name:
            continue  # no command line can name it
        # What QEMU refuses to delete, or to open, frees nothing.
        with suppress(qemu.QemuError):
            judge(path, tmp_path / "copy", prediction, [os.fsdecode(name)], encrypted=False)
