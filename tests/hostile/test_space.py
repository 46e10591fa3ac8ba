"""`du` and the picture of images that are made to take all time and memory there is."""

import sys
from pathlib import Path

import numpy as np
import pytest

from tests.hostile.raw_image import MOST_L1_ENTRIES, MOST_SNAPSHOTS, snapshot_record
from tests.hostile.running import run
from tests.hostile.test_extreme_records import image_with_snapshots

MIB = 1 << 20


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As many snapshots as there can be, whose L1 tables overlap: as many sets of trees."""
    path = tmp_path_factory.mktemp("space") / "disk.qcow2"
    entries = MOST_L1_ENTRIES // 8
    records = (
        snapshot_record(MIB + 512 * i, entries, str(i).encode()) for i in range(MOST_SNAPSHOTS)
    )
    with image_with_snapshots(path, b"".join(records), MOST_SNAPSHOTS, 9) as image:
        clusters = np.random.default_rng(1).integers(1, 190_000, 2 * entries, dtype=np.uint64)
        image.table(MIB, clusters * np.uint64(512))
    return path


def test_sums_of_more_sets_of_trees_than_can_be_told_apart(path: Path) -> None:
    done = run([sys.executable, "-m", "qcow2_dump", "du", "--json", "--sets", str(path)], most=600)
    assert done.status == 0
    document = done.document
    assert sum(part["bytes"] for part in document["parts"]) == document["length"]
    assert len(document["trees"]) == MOST_SNAPSHOTS + 1
    assert "crowded" in {doubt["kind"] for doubt in document["doubts"]}


def test_a_report_for_people_stays_short(path: Path) -> None:
    done = run([sys.executable, "-m", "qcow2_dump", "du", str(path)], most=600)
    assert done.stdout.count("\n") < 1100
    done = run([sys.executable, "-m", "qcow2_dump", "map", "--picture", str(path)], most=600)
    assert done.stdout.count("\n") < 24
