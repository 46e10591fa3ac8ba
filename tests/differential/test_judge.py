"""The comparison itself notices what it is there to notice."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.corpus import qemu
from tests.differential import judge, oracle

FINDING = {"code": "header.magic", "severity": "corruption"}


@pytest.fixture
def image(tmp_path: Path) -> Path:
    """The example of the format notes: three clusters written at the start of a 64 MiB disk."""
    path = tmp_path / "image.qcow2"
    qemu.create(path, 64 << 20)
    qemu.io(path, ["write -P 17 0 192k"])
    return path


def _answer(monkeypatch: pytest.MonkeyPatch, totals: dict[str, int], **document: Any) -> None:
    monkeypatch.setattr(judge, "our_totals", lambda path: (totals, document))


def _broken(path: Path) -> None:
    with path.open("r+b") as file:
        file.write(b"none")


def test_oracle_fills_in_what_qemu_leaves_out(image: Path) -> None:
    result = oracle.check(image)
    assert (result.status, result.word) == (0, "good")
    assert result.totals == {
        "image-end-offset": 0x80000,
        "total-clusters": 1024,
        "allocated-clusters": 3,
        "fragmented-clusters": 0,
        "compressed-clusters": 0,
        "corruptions": 0,
        "leaks": 0,
        "check-errors": 0,
    }


def test_oracle_keeps_the_reason_of_a_refusal(image: Path) -> None:
    _broken(image)
    result = oracle.check(image)
    assert result.word == "refused"
    assert "not in qcow2 format" in result.stderr


def test_equal_totals_agree(image: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    totals = oracle.check(image).totals
    assert totals is not None
    _answer(monkeypatch, totals, status="good", findings=[])
    assert judge.differences(image, encrypted=False) == []


@pytest.mark.parametrize("key", oracle.KEYS)
def test_each_total_counts(image: Path, monkeypatch: pytest.MonkeyPatch, key: str) -> None:
    totals = oracle.check(image).totals
    assert totals is not None
    _answer(monkeypatch, {**totals, key: totals[key] + 1}, status="good", findings=[])
    (line,) = judge.differences(image, encrypted=False)
    assert line.startswith(f"{key}: qemu-img {totals[key]}, ours {totals[key] + 1}")


def test_giving_up_where_qemu_does_not_differs(
    image: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _answer(monkeypatch, {}, status="error", error="cannot")
    assert judge.differences(image, encrypted=False, may_be_unreadable=True)


@pytest.mark.parametrize(
    ("document", "unreadable", "agrees"),
    [
        ({"status": "corrupt", "findings": [FINDING]}, False, True),
        ({"status": "corrupt", "findings": []}, False, False),
        ({"status": "good", "findings": [FINDING]}, False, False),
        ({"status": "leak", "findings": [FINDING]}, False, False),
        ({"status": "error", "error": "no magic"}, True, True),
        ({"status": "error", "error": "no magic"}, False, False),
        ({"status": "error", "error": ""}, True, False),
    ],
)
def test_a_refusal_needs_a_reason(
    image: Path,
    monkeypatch: pytest.MonkeyPatch,
    document: dict[str, Any],
    unreadable: bool,
    agrees: bool,
) -> None:
    _broken(image)
    _answer(monkeypatch, {}, **document)
    found = judge.differences(image, encrypted=False, may_be_unreadable=unreadable)
    assert (found == []) is agrees
