"""A check with a small memory budget finds what one without a budget finds."""

from __future__ import annotations

import itertools
import shutil
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qcow2_dump.checks.checker import Checker
from qcow2_dump.checks.windows import MOST_WINDOWS, Windows
from qcow2_dump.errors import FormatError
from qcow2_dump.image.image import Image, open_image
from qcow2_dump.image.resolver import NeverLook
from qcow2_dump.storage.memory import MemorySource
from qcow2_dump.storage.wrappers import CountingSource
from tests.builder.build import build
from tests.builder.built import BuiltImage
from tests.builder.spec import Data, ImageSpec, SnapshotSpec
from tests.corpus.cases import Case, fixed_cases, materialize

# Every third case: enough to meet each kind of damage, and still quick.
CASES = fixed_cases()[::3]


def checked(image: Image, memory: int | None, max_findings: int = 10**6) -> Checker:
    checker = Checker(image, max_findings=max_findings, memory=memory)
    for step in checker.run():
        assert step.done >= 0
    return checker


def assert_equal(windowed: Checker, whole: Checker) -> None:
    # Eight clusters are the smallest window.
    assert (windowed.facts.kept is not None) == (whole.facts.references.size > 8)
    assert whole.facts.kept is None
    assert windowed.result() == whole.result()
    assert windowed.log.tallies == whole.log.tallies
    for found, expected in (
        (windowed.leaks.unreferenced, whole.leaks.unreferenced),
        (windowed.leaks.overcounted, whole.leaks.overcounted),
        (windowed.leaks.undercounted, whole.leaks.undercounted),
        (windowed.facts.counted.shared, whole.facts.counted.shared),
    ):
        assert found.first(10**9).tolist() == expected.first(10**9).tolist()
    every = np.arange(whole.facts.references.size)
    for number in (windowed.facts.counted, whole.facts.counted):
        assert number.size == len(every)
    assert np.array_equal(windowed.facts.counted.unused(every), whole.facts.counted.unused(every))
    assert np.array_equal(windowed.facts.counted.several(every), whole.facts.counted.several(every))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_damaged_images(case: Case, tmp_path: Path) -> None:
    path = materialize(case, tmp_path)
    try:
        with suppress(FormatError), open_image(str(path), resolver=NeverLook()) as image:
            assert_equal(checked(image, 0), checked(image, None))
            # Which findings are kept and which clusters are examined does not change either.
            assert checked(image, 0, 3).result() == checked(image, None, 3).result()
    finally:
        shutil.rmtree(path.parent)


def small_image(**fields: Any) -> BuiltImage:
    """An image of a thousand small clusters, in several refcount blocks."""
    content = {guest: Data(guest % 251 + 1) for guest in range(0, 1000, 2)}
    return build(ImageSpec(cluster_bits=9, virtual_size=1 << 20, content=content, **fields))


def data_of(built: BuiltImage) -> bytes:
    return built.data.read(0, len(built.data))


def opened(built: BuiltImage) -> Image:
    return Image(MemorySource(data_of(built)), NeverLook())


def test_blocks_that_a_window_cuts_in_two() -> None:
    """Missing and unreadable blocks are one finding each, about all of their clusters."""
    built = small_image()
    table = built.peek(48)
    built.poke(table + 8, 0)
    built.poke(table + 16, 0xFFFF_FFFF_FFFF_FE00)
    image = opened(built)
    whole = checked(image, None)
    assert len(whole.log.kept("refcount.block-missing")) == 1
    assert len(whole.log.kept("refcount.unreadable")) == 1
    assert_equal(checked(image, 0), whole)


def test_counters_that_overflow_in_one_window_only() -> None:
    shared = tuple(SnapshotSpec(str(number), f"day {number}") for number in range(260))
    image = opened(small_image(snapshots=shared, refcount_order=5))
    whole, windowed = checked(image, None), checked(image, 0)
    assert whole.facts.references.bits == 16
    assert_equal(windowed, whole)
    assert not windowed.log.tallies


def test_counters_that_fit_only_while_they_are_narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    """What overflows in one window is counted again in two, of which none is forgotten."""
    shared = tuple(SnapshotSpec(str(number), f"day {number}") for number in range(260))
    built = small_image(snapshots=shared, refcount_order=5)
    built.poke(built.peek(48) + 8, 0)
    image = opened(built)
    whole = checked(image, None)
    clusters = whole.facts.references.size
    narrow = Windows(clusters, clusters * 12 // 8 + 8)
    assert narrow.is_one
    assert narrow.end(0, 16) < clusters
    monkeypatch.setattr(Windows, "of", lambda *_: narrow)
    assert_equal(checked(image, None), whole)
    assert whole.leaks.undercounted


def test_an_image_that_lacks_no_memory_is_walked_once() -> None:
    source = CountingSource(MemorySource(data_of(small_image())))
    checked(Image(source, NeverLook()), None)
    once = source.reads
    checked(Image(source, NeverLook()), 1 << 30)
    assert source.reads == 2 * once
    checked(Image(source, NeverLook()), 0)
    assert source.reads > 4 * once


@pytest.mark.parametrize("bits", [8, 16, 64])
@pytest.mark.parametrize("room", [0, 1000, 10**6, 10**9])
@pytest.mark.parametrize("clusters", [1, 7, 100, 12_345, 2**31])
def test_windows_cover_all_clusters(clusters: int, room: int, bits: int) -> None:
    windows = Windows(clusters, room)
    ends = [0]
    while ends[-1] < clusters:
        ends.append(windows.end(ends[-1], bits))
    assert len(ends) - 1 <= MOST_WINDOWS
    assert ends[-1] == clusters
    assert all(first % 8 == 0 for first in ends[:-1])
    largest = max(end - first for first, end in itertools.pairwise(ends))
    # As much as fits, unless that would take too many walks.
    assert largest * (bits + 2) // 8 <= max(room, (clusters // MOST_WINDOWS + 8) * (bits + 2) // 8)
    assert Windows(clusters).is_one


def test_a_budget_counts_what_is_always_needed() -> None:
    image = opened(small_image())
    facts = Checker(image).facts
    assert Windows.of(facts, None).is_one
    assert not Windows.of(facts, 1 << 20).is_one
    assert Windows.of(facts, 1 << 30).is_one
