"""The judge of repairs notices what it is there to notice."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests.corpus.cases import all_cases
from tests.corpus.damages import DAMAGES
from tests.differential import oracle, repair_case, repair_qemu
from tests.differential.repair_compare import HEADS, table
from tests.differential.repair_guest import Share
from tests.differential.repair_judge import LOOKS_FREE, Checked, Later, Outcome, State, complaints
from tests.differential.repair_ours import Ran
from tests.differential.repair_stored import Stored

ALL = frozenset((0, number) for number in range(10))
SOUND = dict.fromkeys(oracle.KEYS, 0)


def state(
    corruptions: int = 0, leaks: int = 0, errors: int = 0, lost: int = 0, free: int = 4
) -> State:
    """An image with these totals, of whose guest's ten clusters some are lost, and some free."""
    totals = {**SOUND, "corruptions": corruptions, "leaks": leaks, "check-errors": errors}
    return State(totals, share(lost), stored(free))


def stored(free: int, gone: int = 0) -> Stored:
    """The last clusters free, or gone."""
    return Stored(frozenset(range(10 - gone)), frozenset(range(10 - max(free, gone))), 10)


def share(lost: int) -> Share:
    """The last clusters lost."""
    return Share(frozenset((0, number) for number in range(10 - lost)), 10, lost)


REFUSED = State(None, share(0), stored(4))
GOOD = Outcome(
    name="case",
    damage="damage",
    damaged=state(3, 2, lost=1),
    theirs=state(lost=1, free=5),
    ours=state(lost=1),
    ran=Ran(0, "mended\n", ""),
    check=Checked(0, 0),
    changed=True,
)


def test_a_good_repair_passes() -> None:
    assert complaints(GOOD) == []


def test_a_better_one_passes() -> None:
    assert complaints(replace(GOOD, theirs=state(1, lost=3), ours=state())) == []


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"ran": Ran(1, "", "Traceback (most recent call last):\n")}, "run: Traceback"),
        ({"ran": Ran(9, "", "")}, "run: exit status 9"),
        ({"ran": Ran(251, "", "internal error: x\n")}, "run: internal error"),
        ({"ran": Ran(234, "", "no\n")}, "run: failed with 234, yet"),
        ({"ran": Ran(234, "", ""), "changed": False}, "run: failed with 234 without"),
        ({"ran": Ran(234, "", "a\nb\n"), "changed": False}, "run: failed with 234 without"),
        ({"ours": state(1, lost=1)}, "corrupt: qemu-img mends"),
        ({"ours": state(errors=1, lost=1)}, "corrupt: qemu-img mends"),
        ({"ours": State(None, share(1))}, "corrupt: qemu-img mends"),
        ({"ours": state(4, lost=1), "theirs": state(2, lost=1)}, "corrupt: 3 corruptions"),
        ({"ours": State(None, share(1)), "theirs": state(2, lost=1)}, "corrupt: QEMU cannot"),
        ({"ours": state(0, 2, lost=1), "check": Checked(0, 1)}, "leak: 2 left"),
        ({"ours": state(0, 2, lost=1), "check": Checked(2, 2)}, "leak: 2 clusters of waste"),
        ({"ours": state(lost=2)}, "guest: 8 clusters of 10 kept, 9 by qemu-img"),
        ({"theirs": state(lost=3), "ours": state(lost=2)}, "guest: 2 clusters wrong, 1 before"),
        ({"ours": State(SOUND, share(1), stored(4, gone=1))}, "stored: 1 clusters"),
        ({"ours": state(lost=1, free=5)}, "freed: 1 clusters"),
        (
            {"theirs": state(lost=1, free=4), "damage": "l2-lost", "ours": state(lost=1, free=5)},
            "freed: 1",
        ),
        ({"theirs": state(lost=1, free=3)}, "freed: 1 clusters"),
        ({"later": Later(again=("again: changed",))}, "again: changed"),
        ({"later": Later(undo=("undo: refused",))}, "undo: refused"),
        ({"later": Later(freed=state(0, 1))}, "free-orphans: 1 leaks"),
        ({"later": Later(freed=state(1, 0))}, "free-orphans: left 1"),
    ],
)
def test_a_bad_one_does_not(change: dict[str, object], word: str) -> None:
    found = complaints(replace(GOOD, **change))  # type: ignore[arg-type]
    assert any(line.startswith(word) for line in found), found


def test_giving_up_one_cluster_for_another_is_seen() -> None:
    """As many as before, but not the same ones."""
    other = Share(ALL - {(0, 0)}, 10, 1)
    found = complaints(replace(GOOD, ours=State(SOUND, other)))
    assert found[:1] == ["guest: 1 clusters given up that could be read: [(0, 0)]"]


LEFT = replace(
    GOOD,
    theirs=state(2, lost=1),
    ours=state(1, lost=1),
    ran=Ran(6, "l2.unaligned stays\n", ""),
    check=Checked(0, 0, frozenset({"l2.unaligned"})),
)


def test_what_is_left_has_to_be_said() -> None:
    assert complaints(LEFT) == []
    silent = complaints(replace(LEFT, ran=Ran(6, "done\n", "")))
    assert silent == ["left: not said: l2.unaligned"]
    called_good = complaints(replace(LEFT, ran=Ran(0, "l2.unaligned stays\n", "")))
    assert called_good == [
        "left: called good, qemu-img finds 1 corruptions, 0 leaks, 0 check-errors"
    ]


def test_what_costs_guest_data_need_not_be_mended() -> None:
    """QEMU gets there by giving up what could be read; ours leaves it, and says so."""
    left = replace(LEFT, theirs=state(lost=2, free=5))
    assert complaints(left) == []
    assert complaints(replace(left, ran=Ran(6, "done\n", ""))) == ["left: not said: l2.unaligned"]
    assert complaints(replace(left, theirs=state(lost=1, free=5)))
    snapshot = replace(LEFT.damaged, share=replace(share(1), snapshots=1))
    ours = replace(LEFT.ours, share=replace(share(1), snapshots=1))
    wiped = replace(left, theirs=state(lost=1, free=5), damaged=snapshot, ours=ours)
    assert complaints(wiped) == []
    assert complaints(replace(wiped, ours=LEFT.ours)) == ["guest: 0 snapshots of 1"]


def test_a_refusal_needs_a_reason() -> None:
    refused = replace(
        LEFT, damaged=REFUSED, theirs=REFUSED, ours=REFUSED, check=None, changed=False
    )
    assert complaints(replace(refused, ran=Ran(234, "", "no magic\n"))) == []
    assert complaints(replace(refused, ran=Ran(234, "", "")))


def test_kept_orphans_are_allowed() -> None:
    assert complaints(replace(GOOD, ours=state(0, 2, lost=1), check=Checked(0, 2))) == []


def test_what_looks_free_may_be_freed() -> None:
    """Where nothing could tell, and QEMU frees it as well; every such kind exists."""
    outcome = replace(GOOD, damage="l2-lost", ours=state(lost=1, free=5))
    assert complaints(outcome) == []
    assert {damage.name for damage in DAMAGES} >= LOOKS_FREE.keys()


def test_the_table_counts() -> None:
    other = replace(GOOD, damage="other", theirs=state(1, lost=5, free=5))
    lines = table([(GOOD, False), (other, True)])
    assert tuple(lines[:2]) == HEADS
    stored = ["60.00", "50.00", "60.00"]
    assert [line.split() for line in lines[2:]] == [
        ["damage", "1", "1", "1", "90.00", "90.00", "90.00", *stored],
        ["other", "1", "0", "1", "90.00", "50.00", "90.00", *stored, "1"],
        ["all", "2", "1", "2", "90.00", "70.00", "90.00", *stored, "1"],
    ]


@pytest.mark.parametrize("damage", ["l1-outside", "snapshot-l1-offset"])
def test_qemu_as_the_repairer_is_caught(
    damage: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever repairs as `qemu-img check -r leaks` does loses data, and cannot take it back."""

    def as_qemu(*words: str | Path) -> Ran:
        repair_qemu.repair(Path(words[-1]), mode="leaks")
        return Ran(0, "", "")

    monkeypatch.setattr(repair_case, "run", as_qemu)
    case = next(c for c in all_cases() if c.damage.name == damage and not c.base.encrypted)
    found = complaints(repair_case.examine(case, tmp_path))
    assert any(line.startswith("undo:") for line in found), found


def test_doing_nothing_is_caught(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(repair_case, "run", lambda *words: Ran(0, "", ""))
    case = next(c for c in all_cases() if c.damage.name == "l2-copied" and not c.base.encrypted)
    found = complaints(repair_case.examine(case, tmp_path))
    assert any(line.startswith("corrupt: qemu-img mends it") for line in found), found
