"""A survey of many images, sound and damaged, against the check's counts and a plain recount."""

from __future__ import annotations

import os
from collections import defaultdict
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from qcow2_dump.checks.space import gathering
from qcow2_dump.checks.space.kinds import Kind, kinds_of
from qcow2_dump.checks.space.summing import sum_up
from qcow2_dump.checks.space.survey import Survey
from qcow2_dump.checks.space.users import trees_in
from qcow2_dump.errors import Qcow2Error
from tests.builder.build import build
from tests.builder.spec import Data, ImageSpec, SnapshotSpec
from tests.builder.std import std_image
from tests.checks.space.surveys import surveyed
from tests.support.images import SAMPLES, Sample
from tests.support.recount import NotCountable, Recount


@pytest.mark.parametrize("sample", SAMPLES[::2], ids=lambda sample: sample.name)
def test_users_are_those_that_the_tables_name(sample: Sample, tmp_path: Path) -> None:
    path = sample.make(tmp_path)
    refused = () if sample.sound else (Qcow2Error, NotCountable)
    with suppress(*refused), surveyed(path) as survey:
        _has_users_where_there_are_references(survey)
        _adds_up(survey)
        if not survey.facts.tables.misread.any():
            _knows_the_trees(survey, path)


@pytest.mark.parametrize("sample", SAMPLES[1::4], ids=lambda sample: sample.name)
def test_a_check_in_several_windows_gives_the_same(sample: Sample, tmp_path: Path) -> None:
    path = sample.make(tmp_path)
    refused = () if sample.sound else (Qcow2Error,)
    with suppress(*refused), surveyed(path) as whole, surveyed(path, memory=0) as cut:
        assert sum_up(cut) == sum_up(whole)
        assert _masks(cut) == _masks(whole)
        assert cut.damaged.first(10**6).tolist() == whole.damaged.first(10**6).tolist()


def test_stretches_that_nobody_uses_are_told_without_a_look(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("qcow2_dump.checks.space.survey._WINDOW", 64)
    path = tmp_path / "disk.qcow2"
    std_image().write_to(path)
    os.truncate(path, path.stat().st_size + (300 << 16))
    with surveyed(path) as survey:
        pieces = list(survey.stretches())
        assert [int(p.start[0]) for p in pieces[1:]] == [p.end for p in pieces[:-1]]
        assert pieces[-1].end == survey.space.clusters
        assert pieces[-1].kinds.tolist() == [Kind.FREE]
        assert len(pieces[0].start) > 1
        _adds_up(survey)
        assert sum(sum_up(survey).parts.values()) == survey.space.length
        survey.damaged.add(np.array([survey.space.clusters - 1]))
        assert list(survey.stretches())[-1].damaged[-1]


@pytest.mark.parametrize("sample", SAMPLES[::3], ids=lambda sample: sample.name)
def test_stretches_say_what_each_cluster_is(sample: Sample, tmp_path: Path) -> None:
    path = sample.make(tmp_path)
    with suppress(*(() if sample.sound else (Qcow2Error,))), surveyed(path) as survey:
        clusters = survey.space.clusters
        codes = np.concatenate([np.repeat(s.codes, s.lengths) for s in survey.stretches()])
        kinds = np.concatenate([np.repeat(s.kinds, s.lengths) for s in survey.stretches()])
        hurt = np.concatenate([np.repeat(s.damaged, s.lengths) for s in survey.stretches()])
        assert (codes == survey.uses.codes[:clusters]).all()
        assert (hurt == survey.damaged.flags(0, clusters)).all()
        leaked = survey.leaks.unreferenced.flags(0, clusters) & (codes == 0)
        assert (kinds == np.where(leaked, Kind.LEAKED, kinds_of(survey.uses.users)[codes])).all()


@pytest.mark.parametrize("sample", SAMPLES[::2], ids=lambda sample: sample.name)
def test_what_counts_tell_is_what_the_tables_tell(
    sample: Sample, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = sample.make(tmp_path)
    with suppress(*(() if sample.sound else (Qcow2Error,))), surveyed(path) as told:
        monkeypatch.setattr(gathering, "claim_uniform_data", lambda *_: False)
        with surveyed(path) as walked:
            assert _masks(told) == _masks(walked)
            assert sum_up(told) == sum_up(walked)


def test_no_table_is_read_again_for_data_that_all_trees_have(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "disk.qcow2"
    content = {n: Data(1) for n in range(40)}
    shared = frozenset(content)
    both = tuple(SnapshotSpec(name, name, shared=shared) for name in ("1", "2"))
    build(ImageSpec(content=content, virtual_size=64 << 16, snapshots=both)).write_to(path)

    def nothing(*_: object) -> None:
        raise AssertionError("a table was read")

    monkeypatch.setattr(gathering, "read_l2_batches", nothing)
    with surveyed(path) as survey:
        _has_users_where_there_are_references(survey)
        _knows_the_trees(survey, path)


def _masks(survey: Survey) -> list[int]:
    return [survey.uses.users.masks[code] for code in survey.uses.codes.tolist()]


def _has_users_where_there_are_references(survey: Survey) -> None:
    referenced = survey.facts.references.counts != 0
    assert ((survey.uses.codes != 0) == referenced).all()


def _adds_up(survey: Survey) -> None:
    clusters = survey.space.clusters
    for number in (1, 7, 10_000):
        cells = survey.host_map(number)
        assert cells.shares.sum() == clusters
        assert (cells.shares.sum(axis=1) == np.diff(cells.bounds)).all()
        assert bool(cells.damaged.any()) == bool(survey.damaged)
    leaked = np.count_nonzero(survey.leaks.unreferenced.flags(0, clusters))
    assert survey.host_map(1).shares.sum(axis=0)[Kind.LEAKED] == leaked


def _knows_the_trees(survey: Survey, path: Path) -> None:
    expected: dict[int, set[int]] = defaultdict(set)
    image = Recount(path)
    for tree in image.trees:
        number = 0 if tree.index is None else tree.index + 1
        usable = survey.facts.trees[number].usable and tree.l1_size
        if usable:
            first = tree.l1_offset // image.size
            for cluster in range(first, -(-(tree.l1_offset + 8 * tree.l1_size) // image.size)):
                expected[cluster].add(number)
    for entry in image.entries:
        number = 0 if entry.tree is None else entry.tree + 1
        if entry.state not in ("used", "unaligned") or (image.data_file and entry.type):
            continue
        length = image.size
        if entry.type == "compressed":
            if entry.bitmap:
                continue
            sectors = entry.raw >> (62 - (image.bits - 8)) & ((1 << (image.bits - 8)) - 1)
            length = 512 * (sectors + 1) - entry.host % 512
        for cluster in range(entry.host // image.size, (entry.host + length - 1) // image.size + 1):
            expected[cluster].add(number)
    masks = survey.uses.users.masks
    found = {
        cluster: {i for i in range(len(image.trees)) if trees_in(masks[code]) >> i & 1}
        for cluster, code in enumerate(survey.uses.codes.tolist())
        if trees_in(masks[code])
    }
    inside = {c: trees for c, trees in expected.items() if c < survey.uses.size}
    assert found == inside


def test_damage_is_complete_though_findings_are_capped(tmp_path: Path) -> None:
    built = std_image()
    for index in range(100, 150):
        built.set_l2(0, index, 1 << 40)
    for index in range(150, 160):
        built.set_l2(0, index, 2)
    path = built.write_to(tmp_path / "t.qcow2")
    with surveyed(path) as full, surveyed(path, max_findings=0) as capped:
        clusters = range(full.space.clusters)
        every = np.array(clusters)
        assert full.damaged.contains(every).any()
        assert capped.damaged.contains(every).tolist() == full.damaged.contains(every).tolist()
