"""A check that judges L2 tables run by run finds what one finds that looks at every entry."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from qcow2_dump.checks.checker import Checker
from qcow2_dump.checks.mapping.regular_tables import RegularTables
from qcow2_dump.checks.tables import l2_batches
from qcow2_dump.checks.tables.l2_batches import L2Batch
from qcow2_dump.errors import FormatError
from qcow2_dump.image.image import Image, open_image
from qcow2_dump.image.resolver import NeverLook
from qcow2_dump.storage.memory import MemorySource
from tests.builder.build import build
from tests.builder.spec import Data, ImageSpec, SnapshotSpec
from tests.corpus.cases import Case, fixed_cases, materialize
from tests.differential.pokes import PokedImages


def checked(image: Image, memory: int | None = None) -> Checker:
    checker = Checker(image, max_findings=10**6, memory=memory)
    for step in checker.run():
        assert step.done >= 0
    return checker


def assert_alike(image: Image, monkeypatch: pytest.MonkeyPatch) -> int:
    """Check both ways; returns how many batches were judged run by run."""
    taken: list[bool] = []
    whole = RegularTables.take

    def noted(self: RegularTables, batch: L2Batch) -> bool:
        taken.append(whole(self, batch))
        return taken[-1]

    with monkeypatch.context() as patch:
        patch.setattr(RegularTables, "take", noted)
        by_runs = checked(image)
        in_windows = checked(image, memory=1)
        patch.setattr(RegularTables, "take", lambda *_: False)
        by_entries = checked(image)
    assert by_runs.result() == by_entries.result() == in_windows.result()
    assert by_runs.facts.last_data == by_entries.facts.last_data
    assert np.array_equal(by_runs.facts.references.counts, by_entries.facts.references.counts)
    shared = [c.facts.counted.shared.first(10**9).tolist() for c in (by_runs, by_entries)]
    assert shared[0] == shared[1]
    for name in ("used", "empty", "next_host", "unaligned", "invalid", "compressed"):
        gathered = (getattr(c.facts.tables, name) for c in (by_runs, by_entries))
        assert np.array_equal(*gathered)
    return sum(taken)


@pytest.mark.parametrize("case", fixed_cases()[::5], ids=lambda case: case.name)
def test_damaged_images(case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = materialize(case, tmp_path)
    with suppress(FormatError), open_image(path) as image:
        assert_alike(image, monkeypatch)


def test_images_damaged_at_random(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images, path = PokedImages(), tmp_path / "image.qcow2"
    for seed in range(100_000, 100_040):
        path.write_bytes(images.make(seed)[1])
        with suppress(FormatError), open_image(path) as image:
            assert_alike(image, monkeypatch)


def ordered(snapshots: int) -> bytearray:
    """Sixty-four clusters of 512 bytes in a row, twice; snapshots with tables of their own."""
    content = {at: Data(at % 250 + 1) for at in (*range(64), *range(100, 164))}
    trees = tuple(SnapshotSpec(str(i), f"day {i}", own_tables=i == 1) for i in range(snapshots))
    spec = ImageSpec(cluster_bits=9, virtual_size=1 << 18, content=content, snapshots=trees)
    built = build(spec)
    return bytearray(built.data.read(0, len(built.data)))


@pytest.mark.parametrize("snapshots", [0, 2])
def test_tables_in_order_are_judged_by_runs(
    snapshots: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = Image(MemorySource(bytes(ordered(snapshots))), NeverLook())
    assert assert_alike(image, monkeypatch) > 0


@pytest.mark.parametrize("odd", [None, 10, 100])
def test_the_lowest_cluster_of_a_table_in_parts(
    odd: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whichever part leads furthest down; nothing is known where a part is not taken by runs."""
    monkeypatch.setattr(l2_batches, "_BATCH_ENTRIES", 32)
    monkeypatch.setattr(l2_batches, "_FEWEST_COLUMNS", 32)
    content = {at: Data(1) for at in range(256)}
    built = build(ImageSpec(cluster_bits=10, virtual_size=1 << 18, content=content))
    table, entries = built.l2_entry_offset(0, 0), 128
    raw = [built.peek(table + 8 * at) for at in range(entries)]
    for at in range(entries):
        built.set_l2(0, at, raw[(at + 40) % entries])
    if odd is not None:
        built.set_l2(0, odd, built.peek(table + 8 * odd) | 1)
    tables = checked(
        Image(MemorySource(built.data.read(0, len(built.data))), NeverLook())
    ).facts.tables
    lowest = min(entry & (1 << 56) - 1 for entry in raw) >> 10
    assert tables.lowest.tolist() == [0 if odd else lowest, lowest + entries]


@pytest.mark.parametrize("seed", range(30))
def test_one_entry_altered(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each kind of wrong entry, in the middle of a run or at its edge."""
    data = ordered(seed % 3)
    image = Image(MemorySource(bytes(data)), NeverLook())
    rng = np.random.default_rng(seed)
    tables = checked(image).facts.tables.offset
    places = [int(table) + 8 * index for table in tables for index in range(64)]
    mapped = [place for place in places if any(data[place : place + 8])]
    place = int(rng.choice(mapped))
    raw = int.from_bytes(data[place : place + 8], "big")
    altered = (
        raw ^ 1 << 63,
        raw | 1 << 62,
        raw | 1,
        raw | 1 << 57,
        raw + 512,
        raw + 100,
        raw + (1 << 40),
        1 << 63,
        0,
        raw & 1 << 63 | 512,
    )[seed % 10]
    data[place : place + 8] = altered.to_bytes(8, "big")
    assert_alike(Image(MemorySource(bytes(data)), NeverLook()), monkeypatch)
