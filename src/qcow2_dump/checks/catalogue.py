"""The one catalogue of findings: every code, in the order in which a report lists them.

Passes name codes and never compose advice; `explain`, the documentation and the reports all
read these rows.
"""

from qcow2_dump.checks import (
    rules_bitmaps,
    rules_header,
    rules_mapping,
    rules_refcounts,
    rules_run,
    rules_snapshots,
)
from qcow2_dump.checks.rule import Impact, Rule, Severity

__all__ = ["RULES", "Impact", "Rule", "Severity"]

RULES: dict[str, Rule] = {
    rule.code: rule
    for module in (
        rules_snapshots,
        rules_header,
        rules_mapping,
        rules_bitmaps,
        rules_refcounts,
        rules_run,
    )
    for rule in module.ROWS
}
"""Every rule by its code."""
