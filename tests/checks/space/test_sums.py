"""Sums of sound, damaged and hostile images: to the byte, whatever the image says."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from qcow2_dump.checks.checker import Checker
from qcow2_dump.checks.maps.host_map import HostMapper
from qcow2_dump.checks.space.doubts import doubts_of
from qcow2_dump.checks.space.kinds import Kind
from qcow2_dump.checks.space.summing import sum_up
from qcow2_dump.checks.space.sums import Part, SpaceSums
from qcow2_dump.checks.space.survey import Survey
from qcow2_dump.errors import Qcow2Error
from qcow2_dump.image.image import Image
from qcow2_dump.image.resolver import NeverLook
from qcow2_dump.storage.memory import MemorySource
from tests.builder.build import build
from tests.builder.spec import Compressed, Data, ImageSpec, SnapshotSpec
from tests.builder.std import std_image
from tests.checks.space.surveys import surveyed
from tests.cli.transcripts import rich
from tests.support.images import SAMPLES, Sample


def holds(survey: Survey) -> None:
    """What is true of the sums of any image."""
    sums = sum_up(survey)
    assert sum(sums.parts.values()) == sums.length == survey.facts.image.source.size
    assert min(sums.parts.values()) >= 0
    free = sums.parts[Part.FREE] + sums.parts[Part.TAIL]
    assert sums.allocated_free is None or 0 <= sums.allocated_free <= free
    used = sums.length - free - sums.parts[Part.LEAKED]
    alone = 0
    for row in sums.trees:
        assert 0 <= row.exclusive <= row.referenced <= used
        assert 0 <= row.vm_state <= row.referenced
        assert (row.freed is None) == (row.tree == 0)
        assert 0 <= (row.freed or 0) <= row.exclusive
        assert sums.freed_by([row.tree]) == (row.freed or 0)
        alone += row.freed or 0
    everyone = [row.tree for row in sums.trees if row.tree]
    assert alone <= sums.freed_by(everyone) <= used
    for found in sums.sets():
        assert found.freed == sums.freed_by(found.trees) >= found.more >= 0
    doubts_of(survey, sums)
    _pictures_agree(survey, sums)


def _pictures_agree(survey: Survey, sums: SpaceSums) -> None:
    """The picture's kinds and the page's are the parts, to the byte."""
    parts, space = sums.parts, survey.space
    held = survey.bytes_of_kinds().tolist()
    assert sum(held) == sums.length
    assert held[Kind.COMPRESSED] == parts[Part.COMPRESSED] + parts[Part.SLACK]
    assert held[Kind.FREE] == parts[Part.FREE] + parts[Part.TAIL]
    for kind in set(Kind) - {Kind.COMPRESSED, Kind.FREE}:
        assert held[kind] == parts[Part[kind.name]]
    mapper = HostMapper(space.length, space.cluster_size)
    assert sum_up(survey, mapper.take) == sums
    drawn = mapper.map(10**6)
    assert drawn.sums.tolist() == held
    assert drawn.damaged == survey.bytes_in(survey.damaged)


@pytest.mark.parametrize("sample", SAMPLES[1::2], ids=lambda sample: sample.name)
def test_sums_hold(sample: Sample, tmp_path: Path) -> None:
    path = sample.make(tmp_path)
    refused = () if sample.sound else (Qcow2Error,)
    with suppress(*refused), surveyed(path) as survey:
        holds(survey)


_RICH = rich().data.read(0, len(rich().data))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.lists(
        st.tuples(
            st.integers(0, len(_RICH) // 8 - 1),
            st.one_of(st.integers(0, 2**64 - 1), st.integers(0, 40).map(lambda n: n << 14)),
        ),
        max_size=6,
    ),
    st.integers(0, len(_RICH)),
)
def test_sums_of_anything_hold(pokes: list[tuple[int, int]], cut: int) -> None:
    data = bytearray(_RICH)
    for word, value in pokes:
        data[8 * word : 8 * word + 8] = value.to_bytes(8, "big")
    with suppress(Qcow2Error):
        image = Image(MemorySource(bytes(data[: len(data) - cut // 4])), NeverLook())
        checker = Checker(image)
        for _ in checker.run():
            pass
        survey = Survey(checker)
        for _ in survey.run():
            pass
        holds(survey)


def test_streams_and_what_is_beside_them(tmp_path: Path) -> None:
    """Two streams in whole sectors share a cluster; a snapshot has one of them as well."""
    content = {0: Compressed(1), 1: Compressed(2), 2: Data(3)}
    snapshots = (SnapshotSpec("1", "a"),)
    spec = ImageSpec(content=content, stream_alignment="sector", snapshots=snapshots)
    with surveyed(build(spec).write_to(tmp_path / "t.qcow2")) as survey:
        parts = sum_up(survey).parts
        assert parts[Part.COMPRESSED] == 2 * 512
        assert parts[Part.SLACK] % 512 == 0
        clusters = survey.host_map(1).shares.sum(axis=0)[Kind.COMPRESSED]
        assert clusters == 1
        assert sum_up(survey).trees[0].shared >= 65536


def test_what_lies_behind_the_last_cluster(tmp_path: Path) -> None:
    path = std_image().write_to(tmp_path / "t.qcow2")
    length = path.stat().st_size
    with path.open("r+b") as file:
        file.truncate(length + 3 * 65536 + 512)
    with surveyed(path) as survey:
        sums = sum_up(survey)
        assert sums.parts[Part.TAIL] == 3 * 65536 + 512
        assert sums.parts[Part.FREE] == 0
        assert sums.allocated_free == 0
    with path.open("r+b") as file:
        file.seek(length + 65536)
        file.write(b"x" * 65536)
    with surveyed(path) as survey:
        assert sum_up(survey).allocated_free == 65536


def test_doubts_say_what_is_wrong(tmp_path: Path) -> None:
    built = std_image()
    built.set_l2(0, 2, 1 << 40)
    built.set_refcount(3, 0)
    built.set_refcount(5, 9)
    with surveyed(built.write_to(tmp_path / "t.qcow2")) as survey:
        sums = sum_up(survey)
        found = {doubt.kind: doubt.number for doubt in doubts_of(survey, sums)}
    assert found["lost"] == 1
    assert found["undercounted"] == 65536
    assert found["overcounted"] == 65536
    assert found["damaged"] >= 2


def test_a_damaged_cluster_that_the_file_cuts_short_counts_by_its_bytes(tmp_path: Path) -> None:
    built = build(ImageSpec(content={0: Data(1)}, virtual_size=1 << 20))
    path = built.write_to(tmp_path / "t.qcow2")
    length = path.stat().st_size + 1024
    with path.open("r+b") as file:
        file.truncate(length)
    with surveyed(path) as survey:
        size = survey.space.cluster_size
        survey.damaged.add(np.array([1, survey.space.clusters - 1]))
        assert survey.bytes_in(survey.damaged) == size + 1024
        _pictures_agree(survey, sum_up(survey))
