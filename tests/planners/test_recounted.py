"""What comes of a repair of refcounts and COPIED flags is known without another walk, and true."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path

import pytest

from qcow2_dump import open_image
from qcow2_dump.checks.recount import recount
from qcow2_dump.checks.result import CheckResult
from qcow2_dump.errors import Qcow2Error
from qcow2_dump.image.image import Image
from qcow2_dump.operations.applying import ChangeRun
from qcow2_dump.operations.write_requests import RepairRequest, WriteOptions
from qcow2_dump.plan.overlay import OverlaySource
from qcow2_dump.planners import finishing
from qcow2_dump.planners.checked import check_for_planning
from qcow2_dump.planners.proposal import Proposal
from qcow2_dump.planners.refcounts import copied
from qcow2_dump.planners.repairs import RepairChoice, plan_repair
from tests.builder.build import build
from tests.builder.built import BuiltImage
from tests.builder.spec import Data, ImageSpec, SnapshotSpec
from tests.corpus.cases import fixed_cases, materialize

BITS = 12


@pytest.fixture(autouse=True)
def every_image_is_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(finishing, "_ALWAYS_CHECKED", 0)


def damaged(refcount_order: int = 4) -> BuiltImage:
    """A refcount that is too low, and one that is too high."""
    image = build(
        ImageSpec(
            cluster_bits=BITS,
            refcount_order=refcount_order,
            virtual_size=64 << BITS,
            content={index: Data(17 + index) for index in range(8)},
        )
    )
    image.set_refcount(image.active.data[0] >> BITS, 0)
    image.set_refcount(image.active.data[1] >> BITS, 2)
    return image


def repaired(image: Image) -> Proposal:
    return plan_repair(image, RepairChoice(leaks=True, errors=True), can_grow=True)


def as_it_would_be(image: Image, proposal: Proposal) -> CheckResult:
    """A whole check of what the plan makes."""
    later = Image(OverlaySource(image.source, proposal.plan), image.resolver)
    return check_for_planning(later).result


def test_all_of_the_corpus_is_told_alike(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a whole check of what would be, as of small images, and where it can without."""
    told = 0
    for number, case in enumerate(fixed_cases()):
        folder = tmp_path / str(number)
        folder.mkdir()
        with ExitStack() as stack:
            try:
                image = stack.enter_context(open_image(materialize(case, folder)))
            except Qcow2Error:
                continue
            proposal = repaired(image)
            with monkeypatch.context() as small:
                small.setattr(finishing, "_ALWAYS_CHECKED", 1 << 20)
                checked = repaired(image)
            assert checked.counted is None
            assert len(proposal.plan.steps) == len(checked.plan.steps), case.name
            assert proposal.plan.reasons() == checked.plan.reasons(), case.name
            assert proposal.notes == checked.notes, case.name
            assert proposal.after is not None
            assert checked.after is not None
            assert asdict(proposal.after) == asdict(checked.after), case.name
            told += proposal.counted is not None
            proposal.close()
            checked.close()
    assert told >= 20


@pytest.mark.parametrize("order", [1, 3, 4, 6])
def test_refcounts_of_any_width(tmp_path: Path, order: int) -> None:
    with open_image(damaged(order).write_to(tmp_path / "t.qcow2")) as image:
        proposal = repaired(image)
        assert proposal.counted is not None
        assert proposal.after is not None
        assert asdict(proposal.after) == asdict(as_it_would_be(image, proposal))
        assert proposal.before is not None
        assert proposal.before.statistics.corruptions
        assert proposal.before.statistics.leaks
        proposal.close()


def other_finding(image: BuiltImage) -> None:
    """A reserved bit, of which refcounts say nothing."""
    image.set_l2(0, 5, image.active.data[5] | 1 << 63 | 2)


def several_owners(image: BuiltImage) -> None:
    image.set_l2(0, 5, image.active.data[6])


@pytest.mark.parametrize("damage", [other_finding, several_owners])
def test_what_refcounts_do_not_tell_is_checked(tmp_path: Path, damage: object) -> None:
    image = damaged()
    assert callable(damage)
    damage(image)
    with open_image(image.write_to(tmp_path / "t.qcow2")) as opened:
        proposal = repaired(opened)
        assert proposal.counted is None
        proposal.close()


def test_leaks_that_stay_are_not_called_good(tmp_path: Path) -> None:
    with open_image(damaged().write_to(tmp_path / "t.qcow2")) as image:
        proposal = plan_repair(image, RepairChoice(errors=True), can_grow=True)
        assert proposal.counted is None
        proposal.close()


def test_flags_that_nobody_looked_at_are_not_called_right(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(copied, "flaggable_tables", lambda facts, _: facts.tables.active < 0)
    with open_image(damaged().write_to(tmp_path / "t.qcow2")) as image:
        proposal = repaired(image)
        assert proposal.counted is None
        proposal.close()


def test_a_refcount_that_disagrees_is_seen(tmp_path: Path) -> None:
    image = damaged()
    with open_image(image.write_to(tmp_path / "t.qcow2")) as opened:
        found = check_for_planning(opened)
        assert recount(opened, found.facts, found.result) is None


def test_a_file_that_grew_is_looked_at_as_a_whole(tmp_path: Path) -> None:
    image = damaged()
    image.set_refcount(image.active.data[0] >> BITS, 1)
    image.set_refcount(image.active.data[1] >> BITS, 1)
    path = image.write_to(tmp_path / "t.qcow2")
    with open_image(path) as opened:
        found = check_for_planning(opened)
        assert recount(opened, found.facts, found.result) is not None
        with path.open("r+b") as file:
            file.truncate(path.stat().st_size + (1 << BITS))
        with open_image(path) as longer:
            assert recount(longer, found.facts, found.result) is None


def test_a_repair_ends_with_what_is_on_the_disk(tmp_path: Path) -> None:
    """A refcount that somebody else changed meanwhile makes for a whole check."""
    image = damaged()
    for meddle in (False, True):
        path = image.write_to(tmp_path / f"{meddle}.qcow2")
        with path.open("r+b") as file:
            # Clusters that nothing uses; the refcount of the last is in a sector of its own.
            file.truncate(600 << BITS)
        options = WriteOptions(yes=True)
        with ChangeRun(RepairRequest(image=str(path), everything=True, options=options)) as run:
            assert run.proposal.counted is not None
            run.apply()
            if meddle:
                _use_the_last_cluster(path)
            result = run.verify()
        with open_image(path) as opened:
            assert asdict(check_for_planning(opened).result) == asdict(result) if result else None
        assert result is not None
        assert result.statistics.leaks == int(meddle)


def _use_the_last_cluster(path: Path) -> None:
    """Have the refcount say so; no plan wrote it."""
    with open_image(path) as image, path.open("r+b") as file:
        block = int(check_for_planning(image).facts.stored.offsets[0])
        place = block + 2 * ((image.source.size >> BITS) - 1)
        assert image.source.read(place, 2) == b"\0\0"
        file.seek(place)
        file.write(b"\0\1")


def test_snapshots_do_not_matter(tmp_path: Path) -> None:
    image = build(
        ImageSpec(
            cluster_bits=BITS,
            virtual_size=64 << BITS,
            content={index: Data(17 + index) for index in range(4)},
            snapshots=(SnapshotSpec(id="1", name="one", content={0: Data(3), 9: Data(4)}),),
        )
    )
    image.set_refcount(image.active.data[2] >> BITS, 0)
    with open_image(image.write_to(tmp_path / "t.qcow2")) as opened:
        proposal = repaired(opened)
        assert proposal.counted is not None
        assert proposal.after is not None
        assert asdict(proposal.after) == asdict(as_it_would_be(opened, proposal))
        proposal.close()


def test_a_flag_is_cleared_where_a_refcount_rises_from_one(tmp_path: Path) -> None:
    """All flags agreed before, and the cluster has two owners."""
    image = build(
        ImageSpec(
            cluster_bits=BITS,
            virtual_size=64 << BITS,
            content={index: Data(17 + index) for index in range(4)},
            snapshots=(SnapshotSpec(id="1", name="one"),),
        )
    )
    image.set_refcount(image.active.data[2] >> BITS, 1)
    image.set_l2(0, 2, image.active.data[2] | 1 << 63)
    with open_image(image.write_to(tmp_path / "t.qcow2")) as opened:
        proposal = repaired(opened)
        assert proposal.before is not None
        assert proposal.before.tallies.keys() == {"refcount.low"}
        assert "copied.clear" in proposal.plan.reasons()
        assert proposal.after is not None
        assert asdict(proposal.after) == asdict(as_it_would_be(opened, proposal))
        assert not proposal.after.tallies
        proposal.close()
