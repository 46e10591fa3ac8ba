"""Triage on real accidents: whatever a killed writer leaves is waste, with few exceptions.

Nothing was lost in these images, so every leak is honest. 24 runs by default, 200 with
QCOW2_DUMP_FULL=1 in the environment. docs/triage.md records the shares over 400 runs.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.differential.killed_writers import DEATHS, Outcome, Victim, die, kill_a_snapshot

FULL = os.environ.get("QCOW2_DUMP_FULL") == "1"
RUNS = 50 if FULL else 6
# Deaths in the middle of a discard, or of requests side by side, can look like a filled gap.
LOOKS_LOST = 0.06


@pytest.mark.parametrize("death", DEATHS, ids=lambda death: death.__name__)
def test_leaks_of_a_killed_writer_are_waste(
    death: Callable[[Victim], None], tmp_path: Path
) -> None:
    """Unless a new table was still empty; a snapshot half deleted looks like one half lost."""
    others: Counter[str] = Counter()
    for number in range(RUNS):
        outcome = die(number, death, tmp_path / str(number))
        _assert_consistent(outcome)
        if outcome.word in ("no leak", "waste", "empty table"):
            continue
        if "header.dirty" in outcome.codes and outcome.result.refcounts.rebuild:
            continue  # with lazy refcounts, mapped clusters may not be counted yet
        if death is not kill_a_snapshot or "leak.orphan-table" not in outcome.codes:
            others[outcome.word] += 1
    assert others.total() <= max(1, int(LOOKS_LOST * RUNS)), others


def _assert_consistent(outcome: Outcome) -> None:
    """A killed writer leaves no corruption that triage could be excused by."""
    damage = {"cluster.shared", "l1.unaligned", "l1.beyond-end", "l2.unaligned", "l2.beyond-end"}
    assert not outcome.codes & damage
    triage = outcome.result.triage
    leaks = outcome.result.tallies.get("refcount.leak")
    assert triage.waste + triage.orphans == (leaks.places if leaks else 0)
    assert bool(triage.reasons) or not triage.orphans


def test_writers_die_with_leaks(tmp_path: Path) -> None:
    """The deaths do what they are for: several of the runs leave leaks, and most are waste."""
    words: Counter[str] = Counter()
    for number in range(100, 100 + 2 * RUNS):
        words[die(number, kill_a_snapshot, tmp_path / str(number)).word] += 1
    assert words["waste"] > words.total() // 4
    assert words.total() - words["no leak"] > words.total() // 2
