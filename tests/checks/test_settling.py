"""What stands of a check while somebody writes: found twice at the same place, and no more."""

from collections.abc import Callable
from pathlib import Path

import pytest

from qcow2_dump.checks.checker import Checker
from qcow2_dump.checks.result import CheckResult
from qcow2_dump.checks.settling import needs_second_look, settle
from qcow2_dump.checks.verdict import Verdict
from qcow2_dump.image.image import Image
from qcow2_dump.image.resolver import NeverLook
from qcow2_dump.storage.memory import MemorySource
from tests.builder.built import BuiltImage
from tests.builder.std import std_image

COPIED = 1 << 63


def checked(image: BuiltImage, max_findings: int = 1000) -> Checker:
    source = MemorySource(image.data.to_bytes(), "disk.qcow2")
    checker = Checker(Image(source, NeverLook()), max_findings=max_findings)
    for _ in checker.run():
        pass
    return checker


def damaged(*damages: Callable[[BuiltImage], object]) -> BuiltImage:
    image = std_image()
    for damage in damages:
        damage(image)
    return image


def past_the_end(image: BuiltImage) -> None:
    image.set_l2(0, 9, 0x1000000 | COPIED)


def reserved(image: BuiltImage) -> None:
    image.set_l2(0, 1, image.peek(image.l2_entry_offset(0, 1)) | 1 << 57)


def leak(image: BuiltImage) -> None:
    image.set_refcount(6, 3)


def grow(image: BuiltImage) -> None:
    image.truncate(0x2000000)


def settled_codes(result: CheckResult) -> set[str]:
    assert all(
        finding.settled is result.tallies[finding.code].settled for finding in result.findings
    )
    return {code for code, tally in result.tallies.items() if tally.settled}


@pytest.mark.parametrize("limit", [0, 1, 1000])
def test_what_is_found_twice_stands(limit: int) -> None:
    image = damaged(past_the_end, reserved)
    result = settle(checked(image, limit), checked(image, limit))
    assert settled_codes(result) == {"l2.beyond-end", "l2.reserved"}
    assert result.verdict is Verdict.CORRUPT
    assert result.tallies["l2.beyond-end"].unsettled == 0


def test_what_compares_tables_never_stands() -> None:
    image = damaged(leak)
    first = checked(image)
    assert first.result().verdict is Verdict.COPIED
    assert not needs_second_look(first.result())
    for second in (None, checked(image)):
        result = settle(first, second)
        assert settled_codes(result) == set()
        assert (result.verdict, result.unsettled) == (Verdict.OTHER, True)
        assert all(finding.repair_option is None for finding in result.findings)


def test_the_totals_stay_those_of_the_walk() -> None:
    first = checked(damaged(past_the_end, leak))
    before = first.result()
    for second in (None, checked(std_image())):
        result = settle(first, second)
        assert result.statistics == before.statistics
        assert [f.code for f in result.findings] == [f.code for f in before.findings]
        assert {code: tally.count for code, tally in result.tallies.items()} == {
            code: tally.count for code, tally in before.tallies.items()
        }
        assert result.verdict is Verdict.OTHER


@pytest.mark.parametrize(
    "later",
    [
        damaged(),
        damaged(past_the_end, grow),
        damaged(lambda image: image.set_l2(0, 9, 0x1800000 | COPIED)),
        damaged(lambda image: image.set_l2(0, 10, 0x1000000 | COPIED)),
        damaged(lambda image: image.set_l2(0, 9, 0x1000200 | COPIED)),
    ],
    ids=["mended", "the file has grown", "another value", "another place", "another rule"],
)
@pytest.mark.parametrize("limit", [1, 1000])
def test_what_is_not_found_again_is_unsettled(later: BuiltImage, limit: int) -> None:
    first = checked(damaged(past_the_end), limit)
    assert first.result().verdict is Verdict.CORRUPT
    result = settle(first, checked(later, limit))
    assert "l2.beyond-end" not in settled_codes(result)
    assert (result.verdict, result.unsettled) == (Verdict.OTHER, True)


def test_some_stand_and_some_do_not() -> None:
    def other(image: BuiltImage) -> None:
        image.set_l2(0, 11, 0x1000000 | COPIED)

    result = settle(checked(damaged(past_the_end, other, leak)), checked(damaged(other, leak)))
    beyond = [finding for finding in result.findings if finding.code == "l2.beyond-end"]
    assert [(f.l2_index, f.settled) for f in beyond] == [(9, False), (11, True)]
    tally = result.tallies["l2.beyond-end"]
    assert (tally.places, tally.unsettled, tally.settled) == (2, 1, True)
    assert (result.verdict, result.unsettled) == (Verdict.CORRUPT, True)
    assert "refcount.leak" not in result.settled_kinds(*{f.severity for f in result.findings})


def test_of_those_not_kept_only_equal_numbers_stand(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("qcow2_dump.checks.findings.LEAST_KEPT", 0)

    def many(image: BuiltImage, number: int) -> BuiltImage:
        for index in range(20, 20 + number):
            image.set_l2(0, index, 0x1000000 | COPIED)
        return image

    first = checked(many(std_image(), 9), 3)
    same = settle(first, checked(many(std_image(), 9), 3))
    assert same.tallies["l2.beyond-end"].unsettled == 0
    fewer = settle(first, checked(many(std_image(), 8), 3))
    assert fewer.tallies["l2.beyond-end"].unsettled == 6


def test_a_reason_to_refuse_the_image_stands_like_a_finding() -> None:
    def wide(image: BuiltImage) -> None:
        image.poke(0x60, 7, 4)  # refcount_order

    first = checked(damaged(wide))
    assert first.result().refusal is not None
    assert settle(first, checked(damaged(wide))).refusal == first.result().refusal
    assert settle(first, checked(damaged())).refusal is None


def test_notes_are_nothing_to_look_at() -> None:
    def note(image: BuiltImage) -> None:
        image.set_l2(0, 30, COPIED)

    first = checked(damaged(note))
    assert set(first.result().tallies) == {"l2.copied-no-offset"}
    result = settle(first, checked(damaged()))
    assert (result.verdict, result.unsettled) == (Verdict.GOOD, False)


def test_a_sound_image_is_sound(tmp_path: Path) -> None:
    first = checked(damaged())
    assert not needs_second_look(first.result())
    result = settle(first, None)
    assert (result.verdict, result.unsettled, result.findings) == (Verdict.GOOD, False, [])
