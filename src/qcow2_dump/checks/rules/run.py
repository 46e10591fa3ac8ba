"""The catalogue's rows on the run itself: what it could not look at."""

from qcow2_dump.checks.rule import Rule, Severity
from qcow2_dump.checks.verdict import Verdict

__all__ = ["ROWS"]

ROWS: tuple[Rule, ...] = (
    Rule(
        code="check.incomplete",
        severity=Severity.WARNING,
        verdict=Verdict.OTHER,
        headline="part of the image was not examined",
        meaning="The check stops where an image would make it read far more tables than the file "
        "can hold, for instance when thousands of tables overlap.",
        cause="The image was made to be hard to check, or its tables are damaged so badly that "
        "they lead to each other.",
        effect="What was not examined may be damaged or sound; nothing is said about it.",
        repair="Repair what the report names first, then check again.",
    ),
)
