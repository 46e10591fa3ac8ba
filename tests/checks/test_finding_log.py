"""All findings are counted, the first of each kind are kept."""

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qcow2_dump import Finding, Severity
from qcow2_dump.checks import findings
from qcow2_dump.checks.findings import FindingLog

CODES = ("refcount.leak", "l2.unaligned", "l1.copied", "header.oddity")


@pytest.fixture(autouse=True, scope="module")
def few_kept() -> Iterator[None]:
    """Two findings of each code are kept in any case."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(findings, "LEAST_KEPT", 2)
        yield


def finding(code: str, number: int) -> Finding:
    return Finding(code=code, message="", offset=number, count=2, guest_length=512)


@given(st.lists(st.tuples(st.sampled_from(CODES), st.integers(1, 7))), st.integers(0, 8))
def test_counts_are_never_capped(groups: list[tuple[str, int]], limit: int) -> None:
    one_by_one, together = FindingLog(limit=limit), FindingLog(limit=limit)
    asked = 0

    def make(code: str, i: int) -> Finding:
        nonlocal asked
        asked += 1
        return finding(code, i)

    for code, places in groups:
        for i in range(places):
            one_by_one.add(finding(code, i))
        together.add_many(
            code,
            places,
            lambda i, code=code: make(code, i),  # type: ignore[misc]
            count=2 * places,
            guest_bytes=512 * places,
        )
    assert one_by_one.tallies == together.tallies
    assert one_by_one.total == sum(places for _, places in groups)
    assert one_by_one.count(Severity.LEAK) == 2 * one_by_one.places("refcount.leak")
    for code in CODES:
        kept = together.kept(code)
        assert kept == one_by_one.kept(code)
        assert len(kept) == min(max(2, limit), one_by_one.places(code))
        assert together.room(code) == max(2, limit) - len(kept)
    # Nothing is made that is not kept.
    assert asked == sum(len(together.kept(code)) for code in CODES)


@given(st.lists(st.sampled_from(CODES)), st.integers(0, 8))
def test_what_is_listed(codes: list[str], limit: int) -> None:
    log = FindingLog(limit=limit)
    for number, code in enumerate(codes):
        log.add(finding(code, number))
    listed = log.listed()
    assert len(listed) == min(limit, len(codes))
    assert len(list(log.drain())) == sum(min(limit, codes.count(code)) for code in set(codes))
    ranks = [found.severity.rank for found in listed]
    assert ranks == sorted(ranks)
    if limit >= len(set(codes)):
        # No kind crowds another one out.
        assert {found.code for found in listed} == set(codes)


def test_findings_are_drained_once_and_in_order() -> None:
    log = FindingLog(limit=2)
    for number in range(3):
        log.add(finding("l2.unaligned", number))
    assert [found.offset for found in log.drain()] == [0, 1]
    assert list(log.drain()) == []
    log.add(finding("l1.copied", 9))
    assert [found.offset for found in log.drain()] == [9]


def test_findings_that_know_more_take_the_place_of_others() -> None:
    log = FindingLog(limit=5)
    log.add(finding("refcount.leak", 1))
    log.replace("refcount.leak", [finding("refcount.leak", 100)])
    assert [found.offset for found in log.kept("refcount.leak")] == [100]
    assert log.places("refcount.leak") == 1


def test_ignored_codes_leave_no_trace() -> None:
    log = FindingLog(ignored=frozenset({"l2.copied"}))
    log.add(finding("l2.copied", 1))
    log.add_many("l2.copied", 5, lambda i: finding("l2.copied", i), count=5)
    assert (log.total, log.tallies, log.listed()) == (0, {}, [])
