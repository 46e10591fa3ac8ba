"""The catalogue is complete, says something, and is what the check uses."""

import re
from pathlib import Path

import pytest

import qcow2_dump
from qcow2_dump.checks import catalogue
from qcow2_dump.checks.catalogue import RULES, Rule, Severity
from qcow2_dump.checks.rules import bitmaps as rules_bitmaps
from qcow2_dump.checks.rules import header as rules_header
from qcow2_dump.checks.rules import l2 as rules_l2
from qcow2_dump.checks.rules import mapping as rules_mapping
from qcow2_dump.checks.rules import refcounts as rules_refcounts
from qcow2_dump.checks.rules import run as rules_run
from qcow2_dump.checks.rules import snapshots as rules_snapshots
from qcow2_dump.checks.verdict import Verdict

CHECK = Path(qcow2_dump.__path__[0]) / "checks"
MODULES = (
    rules_snapshots,
    rules_header,
    rules_mapping,
    rules_bitmaps,
    rules_refcounts,
    rules_run,
)
OPTIONS = {
    None,
    "--errors",
    "--leaks",
    "--all",
    "--reuse",
    "--drop-unusable",
    "--drop-bitmaps",
    "--drop-snapshot N",
}


def rows() -> list[Rule]:
    return [rule for module in MODULES for rule in module.ROWS]


def test_codes_are_unique_and_all_in_the_catalogue() -> None:
    codes = [rule.code for rule in rows()]
    assert len(codes) == len(set(codes))
    assert list(catalogue.RULES) == codes
    assert {rule.code for rule in rules_l2.ROWS} <= set(codes)


@pytest.mark.parametrize("rule", rows(), ids=lambda rule: rule.code)
def test_a_row_is_complete(rule: Rule) -> None:
    assert re.fullmatch(r"[a-z0-9-]+\.[a-z0-9-]+", rule.code)
    for words in (rule.meaning, rule.cause, rule.effect, rule.repair):
        assert words[:1].isupper() or words.startswith("`")
        assert words.endswith(".")
        assert "  " not in words
    assert rule.option in OPTIONS


@pytest.mark.parametrize("rule", rows(), ids=lambda rule: rule.code)
def test_a_headline_reads_well(rule: Rule) -> None:
    assert rule.headline.startswith("# ") or "#" not in rule.headline
    for words in (rule.tell(1), rule.tell(2), rule.title):
        assert not re.search(r"[{}|#]", words)
        assert not words.endswith(".")
    if "#" in rule.headline:
        assert rule.tell(1).startswith("1 ")
        assert rule.tell(1234).startswith("1,234 ")
        assert rule.title[0].isupper()


@pytest.mark.parametrize("rule", rows(), ids=lambda rule: rule.code)
def test_severity_and_verdict_agree(rule: Rule) -> None:
    fitting = {
        Severity.CORRUPTION: {
            Verdict.CORRUPT,
            Verdict.SNAPSHOT,
            Verdict.WRONG,
            Verdict.COPIED,
        },
        Severity.LEAK: {Verdict.LEAK},
        Severity.WARNING: {Verdict.OTHER, Verdict.FLAGGED},
        Severity.NOTE: {Verdict.GOOD},
    }
    assert rule.verdict in fitting[rule.severity]


def used_codes() -> set[str]:
    """Every code that a module of the check, other than the catalogue's own, names."""
    sources = "\n".join(
        path.read_text(encoding="utf-8")
        for path in CHECK.rglob("*.py")
        if path.parent.name != "rules"
    )
    return {code for code in RULES if f'"{code}"' in sources} | _composed(sources)


def _composed(sources: str) -> set[str]:
    """Codes that are put together from a family and the name of a field: ``f"family.x-{y}"``."""
    heads = re.findall(r'f"([a-z0-9-]+\.[a-z0-9-]*)\{', sources)
    return {code for code in RULES for head in heads if code.startswith(head)}


@pytest.mark.parametrize("code", RULES)
def test_every_code_can_be_found(code: str) -> None:
    assert code in used_codes()


def test_the_check_names_no_code_that_is_unknown() -> None:
    families = "|".join(sorted({re.escape(code.partition(".")[0]) for code in RULES}))
    pattern = re.compile(rf'code="((?:{families})\.[a-z0-9-]+)"')
    named = {
        code
        for path in CHECK.glob("*.py")
        for code in pattern.findall(path.read_text(encoding="utf-8"))
    }
    assert named <= set(RULES)
