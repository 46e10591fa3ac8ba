"""The catalogue of findings as text and as JSON: what `explain` prints."""

import json
import textwrap
from collections.abc import Iterator
from typing import TypedDict

from qcow2_dump.checks.catalogue import RULES, Rule, Severity
from qcow2_dump.report.commands import command
from qcow2_dump.report.style import Style

__all__ = ["RuleDocument", "explain_rule", "list_rules", "rules_line"]

_WIDTH = 80


class RuleDocument(TypedDict):
    """One row of the catalogue; ``option`` is that of ``repair``, or null."""

    code: str
    severity: str
    status: str
    exit_status: int
    title: str
    meaning: str
    cause: str
    effect: str
    repair: str
    option: str | None


def explain_rule(rule: Rule, style: Style) -> Iterator[str]:
    """One kind of finding, for a reader who has never heard of it."""
    yield f"{style.code(rule.code, rule.severity)}: {style.strong(rule.title)}"
    yield ""
    for heading, words in (
        ("What it is", rule.meaning),
        ("How it comes about", rule.cause),
        ("What it does", rule.effect),
        ("What repair does", rule.repair),
    ):
        yield f"  {style.strong(heading)}"
        yield from textwrap.wrap(
            words, _WIDTH, initial_indent="    ", subsequent_indent="    ", break_on_hyphens=False
        )
        if words == rule.repair and rule.option is not None:
            line = command("repair", "IMAGE", *rule.option.split(" "), "--dry-run")
            yield ""
            yield f"    {line}"
        yield ""
    verdict = rule.verdict
    yield style.dim(
        f"  severity: {rule.severity}, exit status of check: {verdict.value} ({verdict.label})"
    )


def list_rules(style: Style) -> Iterator[str]:
    """Every code, how bad it is and its headline, in the order in which a report lists them."""
    width = max(len(code) for code in RULES)
    widest = max(len(severity) for severity in Severity)
    for rule in RULES.values():
        code = style.code(f"{rule.code:<{width}}", rule.severity)
        yield f"{code}  {rule.severity:<{widest}}  {rule.title}"


def rules_line(rules: list[Rule]) -> str:
    """Rows of the catalogue as one JSON array on one line."""
    return json.dumps([_document(rule) for rule in rules], ensure_ascii=True)


def _document(rule: Rule) -> RuleDocument:
    return {
        "code": rule.code,
        "severity": rule.severity.value,
        "status": rule.verdict.label,
        "exit_status": rule.verdict.value,
        "title": rule.title,
        "meaning": rule.meaning,
        "cause": rule.cause,
        "effect": rule.effect,
        "repair": rule.repair,
        "option": rule.option,
    }
