"""Findings of ours alone change no totals, refused images are checked, and the page lists both."""

import re
from pathlib import Path

import pytest

from qcow2_dump import CheckResult, check, open_image
from tests.differential import judge, oracle
from tests.differential.beyond_qemu import FOUND_BY_US, NEEDS_DEEP, REFUSED_BY_QEMU
from tests.support.qemu import require_qemu

PAGE = Path(__file__).resolve().parents[2] / "docs" / "differences.md"


def checked(path: Path, *, deep: bool = False) -> CheckResult:
    with open_image(path) as image:
        return check(image, deep=deep).result


@pytest.mark.parametrize("code", FOUND_BY_US)
def test_found_without_a_change_to_the_totals(code: str, tmp_path: Path) -> None:
    require_qemu()
    path = FOUND_BY_US[code](tmp_path)
    result = checked(path, deep=code in NEEDS_DEEP)
    assert result.tallies[code].places > 0
    assert result.tallies[code].count == 0
    assert oracle.check(path).totals is not None
    assert judge.differences(path, encrypted=False) == []


@pytest.mark.parametrize("code", sorted(NEEDS_DEEP))
def test_only_a_deep_check_decompresses(code: str, tmp_path: Path) -> None:
    assert code not in checked(FOUND_BY_US[code](tmp_path)).tallies


@pytest.mark.parametrize("code", REFUSED_BY_QEMU)
def test_checked_although_qemu_refuses(code: str, tmp_path: Path) -> None:
    require_qemu()
    path = REFUSED_BY_QEMU[code](tmp_path)
    result = checked(path)
    assert result.complete
    assert result.refusal is not None
    assert code in result.tallies
    assert oracle.check(path).totals is None
    assert judge.differences(path, encrypted=False) == []


@pytest.mark.parametrize(
    ("heading", "cases"),
    [("What only qcow2-dump finds", FOUND_BY_US), ("What qemu-img refuses", REFUSED_BY_QEMU)],
)
def test_the_page_lists_every_case(heading: str, cases: dict[str, object]) -> None:
    sections = PAGE.read_text(encoding="utf-8").split("\n## ")
    (section,) = [text for text in sections if text.startswith(heading)]
    rows = re.findall(r"^\| `([a-z0-9.-]+)`", section, re.MULTILINE)
    assert sorted(rows) == sorted(cases)
