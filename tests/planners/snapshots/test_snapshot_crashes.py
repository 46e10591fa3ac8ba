"""A crash in a snapshot operation: any writes since the last barrier are lost, and nothing else."""

import itertools
import random
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from qcow2_dump.checks.trees import trees_of
from qcow2_dump.errors import UnsafePlanError
from qcow2_dump.image.image import Image, open_image
from qcow2_dump.ondisk.mapping import EntryFlag
from qcow2_dump.plan.model import Barrier, Plan, Resize, Write
from qcow2_dump.planners.checked import check_for_planning
from qcow2_dump.planners.proposal import Proposal
from qcow2_dump.planners.snapshots.plans import (
    plan_snapshot_apply,
    plan_snapshots_deleted,
    plan_snapshots_kept,
)
from qcow2_dump.storage.memory import MemorySource
from tests.builder.build import build
from tests.builder.spec import Compressed, Data, ImageSpec, SnapshotSpec, ZeroAlloc
from tests.corpus.cases import all_cases, materialize
from tests.support.whole_writes import in_full

SPEC = ImageSpec(
    cluster_bits=12,
    virtual_size=8 << 20,
    content={0: Data(1), 1: Data(1), 2: Compressed(3), 600: Data(1), 1500: ZeroAlloc()},
    snapshots=(
        SnapshotSpec("1", "one", {0: Data(2), 600: Data(2)}),
        SnapshotSpec("2", "two", {1: Data(3)}, disk_size=4 << 20),
        SnapshotSpec("3", "three", {1200: Data(4)}, shared=frozenset({0, 2})),
    ),
)

# What a crash may leave: tables of a snapshot that is gone, COPIED flags that are absent.
HARMLESS = {"refcount.leak", "leak.orphan-table", "l1.copied", "l2.copied"}

MOST_SUBSETS = 40


def survivors(stretch: list[Write]) -> Iterator[tuple[Write, ...]]:
    """Which writes between two barriers reach the disk: all subsets, or some of very many."""
    if 2 ** len(stretch) <= MOST_SUBSETS:
        for number in range(len(stretch) + 1):
            yield from itertools.combinations(stretch, number)
        return
    chance = random.Random(len(stretch))
    for _ in range(MOST_SUBSETS):
        yield tuple(write for write in stretch if chance.random() < 0.5)


def crashes(data: bytes, plan: Plan) -> Iterator[bytes]:
    """The file after each crash."""
    done, stretch = bytearray(data), list[Write]()
    for step in in_full(plan, data).steps:
        if isinstance(step, Write):
            stretch.append(step)
        elif isinstance(step, Resize):
            done = done[: step.new].ljust(step.new, b"\0")
            yield bytes(done)
        elif isinstance(step, Barrier):
            for kept in survivors(stretch):
                left = bytearray(done)
                for write in kept:
                    left[write.offset : write.end] = write.new.read()
                yield bytes(left)
            for write in stretch:
                done[write.offset : write.end] = write.new.read()
            stretch.clear()
    assert not stretch


def roots(image: Image) -> list[tuple[int, int, int]]:
    return [(tree.l1_offset, tree.l1_size, tree.disk_size) for tree in trees_of(image)]


@pytest.mark.parametrize(
    "make",
    [
        lambda image: plan_snapshot_apply(image, 0, can_grow=True),
        lambda image: plan_snapshot_apply(image, 1, can_grow=True),
        lambda image: plan_snapshots_deleted(image, (1,), can_grow=True),
        lambda image: plan_snapshots_kept(image, (), can_grow=True),
    ],
    ids=["apply", "apply-smaller", "delete", "delete-all"],
)
def test_nothing_is_lost_by_a_crash(make: Callable[[Image], Proposal]) -> None:
    data = build(SPEC).data.to_bytes()
    image = Image(MemorySource(data, "image"))
    proposal = make(image)
    *_, last = states = list(crashes(data, proposal.plan))
    before, after = roots(image), roots(Image(MemorySource(last, "image")))
    for state in states:
        crashed = Image(MemorySource(state, "image"))
        assert roots(crashed) in (before, after)
        result = check_for_planning(crashed).result
        assert set(result.tallies) <= HARMLESS
        for finding in result.findings:
            if finding.code.endswith(".copied"):
                assert isinstance(finding.value, int)
                assert not finding.value & EntryFlag.COPIED
    assert not set(check_for_planning(Image(MemorySource(last))).result.tallies)


def test_what_a_former_flag_stands_on_is_not_raised(tmp_path: Path) -> None:
    """Its L1 table becomes the snapshot's, and is in force until the header is switched."""
    name = "bitmaps-snapshots+snapshot-l1-offset+1"
    path = materialize(next(case for case in all_cases() if case.name == name), tmp_path)
    with open_image(path) as image, pytest.raises(UnsafePlanError, match="repaired first"):
        plan_snapshot_apply(image, 0, can_grow=True)
