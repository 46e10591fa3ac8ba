"""Images that a real QEMU is writing to: what is changing is never called corrupt for good."""

import os
from pathlib import Path

import pytest

from qcow2_dump.checks.verdict import Verdict
from qcow2_dump.events import ImageChecked, WriterSeen
from qcow2_dump.image.image import open_image
from qcow2_dump.operations.checking import run_checks
from qcow2_dump.operations.listing import Listing, ListingRun
from qcow2_dump.operations.requests import CheckRequest
from tests.support.busy_writer import busy_writer, passing_writers, used_image
from tests.support.qemu import qemu_check, require_qemu

SIZE = 32 << 20
# 1,000 checks over all kinds of images in the full run.
CHECKS = 200 if os.environ.get("QCOW2_DUMP_FULL") else 12
KINDS = [
    "cluster_size=4k",
    "cluster_size=512",
    "cluster_size=16k,extended_l2=on",
    "cluster_size=1k,compat=0.10",
    "cluster_size=64k,lazy_refcounts=on",
]


@pytest.mark.parametrize("options", KINDS)
def test_what_is_changing_is_never_called_corrupt_for_good(tmp_path: Path, options: str) -> None:
    require_qemu()
    seed = KINDS.index(options)
    path = used_image(tmp_path / "disk.qcow2", options, SIZE, seed)
    with busy_writer(path, SIZE, seed):
        for number in range(CHECKS):
            checked = _listed(path) if number % 4 == 3 else _checked(path)
            certain = [finding for finding in checked.result.findings if finding.settled]
            assert checked.result.verdict in (Verdict.GOOD, Verdict.OTHER), certain
    # It was the writer's doing and nothing else: left alone, the image is sound.
    assert _checked(path, writer=False).result.verdict is Verdict.GOOD
    assert qemu_check(path).rc == 0


def test_writers_who_come_and_go_meanwhile_are_noticed_too(tmp_path: Path) -> None:
    require_qemu()
    path = used_image(tmp_path / "disk.qcow2", "cluster_size=512", SIZE, 1)
    with passing_writers(path, SIZE, 1):
        for _ in range(2 * CHECKS):
            events = list(run_checks(CheckRequest(images=(str(path),))))
            assert isinstance(events[-1], ImageChecked), events[-1]
            certain = [finding for finding in events[-1].result.findings if finding.settled]
            assert events[-1].result.verdict in (Verdict.GOOD, Verdict.OTHER), certain
    assert _checked(path, writer=False).result.verdict is Verdict.GOOD


def _checked(path: Path, *, writer: bool = True) -> ImageChecked:
    """What the check of an image leaves; it has to notice the writer."""
    events = list(run_checks(CheckRequest(images=(str(path),))))
    assert any(isinstance(event, WriterSeen) for event in events) is writer
    assert isinstance(events[-1], ImageChecked), events[-1]
    return events[-1]


def _listed(path: Path) -> ImageChecked:
    """The same of a classic report."""
    with open_image(path) as image:
        events = list(ListingRun(image, Listing(entries="bad", report=True)))
    assert isinstance(events[-1], ImageChecked)
    return events[-1]
