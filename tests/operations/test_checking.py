"""Runs of the check: the order of events, failures of one image, interruption."""

import errno
import os
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path

import pytest

from qcow2_dump.checks.verdict import Verdict
from qcow2_dump.errors import RequestError
from qcow2_dump.events import (
    Event,
    FindingSeen,
    ImageChecked,
    ImageFailed,
    ImageOpened,
    Progress,
    WriterSeen,
)
from qcow2_dump.image.image import Image, open_image
from qcow2_dump.operations import checking
from qcow2_dump.operations.checking import check, run_checks
from qcow2_dump.operations.requests import CheckRequest
from tests.builder.std import std_image


@pytest.fixture
def damaged(tmp_path: Path) -> Path:
    image = std_image()
    image.set_l2(0, 1, 0x8000000090000000)
    return image.write_to(tmp_path / "damaged.qcow2")


@pytest.fixture
def image(damaged: Path) -> Iterator[Image]:
    with open_image(damaged) as opened:
        yield opened


def test_a_run_yields_what_it_finds_and_then_its_end(image: Image) -> None:
    events = list(check(image))
    assert isinstance(events[-1], ImageChecked)
    assert sum(isinstance(event, ImageChecked) for event in events) == 1
    seen = [event.finding.code for event in events if isinstance(event, FindingSeen)]
    assert "l2.beyond-end" in seen
    assert events[-1].result.verdict is Verdict.CORRUPT


def test_progress_never_goes_back_or_past_its_total(image: Image) -> None:
    steps = [event for event in check(image) if isinstance(event, Progress)]
    assert steps
    for _, stage in groupby(steps, key=lambda step: step.stage):
        of_stage = list(stage)
        assert [step.done for step in of_stage] == sorted(step.done for step in of_stage)
        assert of_stage[-1].done <= of_stage[-1].total


def test_the_result_runs_what_is_left(image: Image) -> None:
    run = check(image)
    assert run.partial_result().complete is False
    next(iter(run))
    assert run.result.complete
    assert run.result is run.result
    assert run.result.verdict is Verdict.CORRUPT


def test_fewer_findings_are_kept_and_all_are_counted(image: Image) -> None:
    all_of_them = check(image).result
    kept = check(image, max_findings=1).result
    assert len(kept.findings) == 1
    assert kept.omitted == len(all_of_them.findings) + all_of_them.omitted - 1
    assert kept.statistics == all_of_them.statistics


def test_a_failed_image_does_not_end_the_run(damaged: Path, tmp_path: Path) -> None:
    missing = tmp_path / "missing"
    events = list(run_checks(CheckRequest(images=(str(missing), str(damaged)))))
    failed = events[0]
    assert isinstance(failed, ImageFailed)
    assert (failed.name, failed.errno) == (str(missing), errno.ENOENT)
    assert isinstance(events[1], ImageOpened)
    assert isinstance(events[-1], ImageChecked)


@pytest.mark.parametrize(
    ("error", "number"),
    [
        (OSError(errno.EIO, "Input/output error"), errno.EIO),
        (MemoryError(), errno.ENOMEM),
        (RequestError("no"), errno.EINVAL),
    ],
)
def test_a_failure_in_the_middle(
    damaged: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException, number: int
) -> None:
    class Failing(checking.Checker):
        def run(self) -> Iterator[object]:  # type: ignore[override]
            yield from ()
            raise error

    monkeypatch.setattr(checking, "Checker", Failing)
    run = run_checks(CheckRequest(images=(str(damaged),)))
    events = list(run)
    assert isinstance(events[-1], ImageFailed)
    assert events[-1].errno == number
    assert run.interrupted() is None


def test_an_interrupted_run_still_knows_what_it_saw(damaged: Path) -> None:
    run = run_checks(CheckRequest(images=(str(damaged),)))
    assert run.interrupted() is None
    assert isinstance(next(run), ImageOpened)
    next(run)
    so_far = run.interrupted()
    assert so_far is not None
    assert so_far.name == str(damaged)
    assert so_far.result.complete is False


def test_the_image_can_still_be_read_when_its_end_is_told(damaged: Path) -> None:
    opened = None
    for event in run_checks(CheckRequest(images=(str(damaged),))):
        if isinstance(event, ImageOpened):
            opened = event.image
        if isinstance(event, ImageChecked):
            assert opened is not None
            assert opened.source.read(0, 4) == b"QFI\xfb"


def test_requests_that_make_no_sense() -> None:
    with pytest.raises(RequestError):
        CheckRequest(images=())
    with pytest.raises(RequestError):
        CheckRequest(images=("a",), max_findings=-1)
    with pytest.raises(RequestError):
        CheckRequest(images=("a",), memory=-1)


def test_a_small_budget_walks_more_often_and_finds_the_same(image: Image) -> None:
    with pytest.raises(RequestError):
        check(image, memory=-1)
    generous, small = check(image), check(image, memory=0)
    assert small.result == generous.result
    stages = [
        [e.stage for e in run if isinstance(e, Progress)]
        for run in (check(image), check(image, memory=0))
    ]
    assert stages[0].count("tables") < stages[1].count("tables")


def test_a_writer_who_came_and_went_during_a_check_leaves_it_unsettled(tmp_path: Path) -> None:
    built = std_image()
    built.set_refcount(6, 3)
    path = built.write_to(tmp_path / "disk.qcow2")
    os.utime(path, ns=(1, 1))
    run = run_checks(CheckRequest(images=(str(path),)))
    events: list[Event] = [next(run)]
    while not isinstance(events[-1], Progress):
        events.append(next(run))
    os.utime(path, ns=(2, 2))
    events += run
    assert WriterSeen(str(path), gone=True) in events
    assert isinstance(events[-1], ImageChecked)
    assert events[-1].result.verdict is Verdict.OTHER
