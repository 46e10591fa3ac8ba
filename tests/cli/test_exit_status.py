"""The one table of exit statuses."""

import errno
import itertools
import signal

import pytest

from qcow2_dump.checks.result import Statistics
from qcow2_dump.checks.verdict import Verdict
from qcow2_dump.cli import exit_status
from qcow2_dump.cli.exit_status import StatusTable, of_errno
from tests.report.samples import result, simple

PRECEDENCE = [5, 6, 4, 2, 1, 3, 7, 8, 0]


@pytest.mark.parametrize(
    ("number", "status"),
    [
        (errno.EINVAL, 234),
        (errno.ENOENT, 254),
        (errno.EACCES, 243),
        (errno.EBUSY, 240),
        (errno.EFBIG, 229),
        (errno.EIO, 251),
        (errno.ENOSPC, 228),
        (errno.ENOTSUP, 161),
        (None, 251),
        (200, 128),
    ],
)
def test_errno(number: int | None, status: int) -> None:
    assert of_errno(number) == status


def test_the_named_ones() -> None:
    assert exit_status.USAGE == 234
    assert exit_status.BROKEN_PIPE == 141
    assert exit_status.of_signal(signal.SIGINT) == 130
    assert exit_status.of_signal(signal.SIGTERM) == 143


def test_precedence_of_verdicts() -> None:
    for better, worse in itertools.combinations(reversed(PRECEDENCE), 2):
        assert Verdict.worst([Verdict(better), Verdict(worse)]) == worse
        assert Verdict.worst([Verdict(worse), Verdict(better)]) == worse
    assert Verdict.worst([]) is Verdict.GOOD


@pytest.mark.parametrize(
    ("statuses", "combined"),
    [([], 0), ([0, 0], 0), ([0, 1, 8], 1), ([6, 5], 5), ([6, 254, 5], 254), ([251, 254], 251)],
)
def test_several_images(statuses: list[int], combined: int) -> None:
    assert StatusTable().combined(statuses) == combined


@pytest.mark.parametrize(
    ("code", "status"),
    [
        ("refcount.leak", 1),
        ("l2.empty", 1),
        ("l2.copied", 2),
        ("header.corrupt-flag", 3),
        ("refcount.low", 4),
        ("snapshot.record", 5),
        ("cluster.shared", 6),
        ("header.dirty", 8),
        ("l2.copied-no-offset", 0),
    ],
)
def test_the_verdict_of_a_finding(code: str, status: int) -> None:
    assert StatusTable().of_result(result(simple(code))) == status


def test_a_flagged_image_that_was_not_examined_in_full() -> None:
    made = result(simple("header.corrupt-flag"), simple("check.incomplete"))
    assert StatusTable().of_result(made) == 7
    assert StatusTable().of_result(result(simple("header.corrupt-flag"), complete=False)) == 7


@pytest.mark.parametrize("codes", [(), ("refcount.leak",)])
def test_what_qemu_refuses_is_neither_good_nor_a_leak(codes: tuple[str, ...]) -> None:
    made = result(*(simple(code) for code in codes), refusal="a flag of a bitmap")
    assert StatusTable().of_result(made) == 8


@pytest.mark.parametrize(
    ("totals", "refusal", "status"),
    [
        (Statistics(), None, 0),
        (Statistics(leaks=3), None, 3),
        (Statistics(leaks=3, corruptions=1), None, 2),
        (Statistics(check_errors=1, corruptions=1), None, 1),
        (Statistics(corruptions=1), "the snapshot table cannot be read", 1),
    ],
)
def test_like_qemu_img(totals: Statistics, refusal: str | None, status: int) -> None:
    # The verdict is 6: only the totals may count.
    made = result(simple("cluster.shared"), statistics=totals, refusal=refusal)
    assert StatusTable(like_qemu_img=True).of_result(made) == status


def test_like_qemu_img_over_several_images() -> None:
    table = StatusTable(like_qemu_img=True)
    assert table.of_failure(errno.ENOENT) == 1
    assert table.combined([3, 2, 0]) == 2
    assert table.combined([3, 1, 2]) == 1
    assert table.combined([0, 3]) == 3
