"""Every reason that a planner gives has words."""

from __future__ import annotations

import re
from pathlib import Path

import qcow2_dump
from qcow2_dump.checks.catalogue import RULES
from qcow2_dump.planners.reasons import REASONS

PLANNERS = Path(qcow2_dump.__path__[0]) / "planners"


def test_reasons_are_whole_sentences() -> None:
    for code, reason in REASONS.items():
        assert reason.code == code
        for words in (reason.what, reason.guest):
            assert words[0].isupper(), code
            assert words.endswith("."), code


def test_every_code_is_known() -> None:
    """What looks like a code is that of a finding or of a reason."""
    used: set[str] = set()
    for path in PLANNERS.glob("*.py"):
        used |= set(re.findall(r'"([a-z0-9]+(?:-[a-z0-9]+)*\.[a-z0-9-]+)"', path.read_text()))
    assert used
    assert used <= set(REASONS) | set(RULES)
