"""The one catalogue of findings: every code, in the order in which a report lists them.

Passes name codes and never compose advice; `explain`, the documentation and the reports all
read these rows.
"""

from qcow2_dump.checks.rule import Impact, Rule, Severity
from qcow2_dump.checks.rules import bitmaps, header, mapping, refcounts, run, snapshots

__all__ = ["RULES", "Impact", "Rule", "Severity"]

RULES: dict[str, Rule] = {
    rule.code: rule
    for module in (snapshots, header, mapping, bitmaps, refcounts, run)
    for rule in module.ROWS
}
"""Every rule by its code."""
