"""`explain`: the catalogue of findings on the terminal."""

import difflib

from qcow2_dump.checks.catalogue import RULES
from qcow2_dump.cli import exit_status
from qcow2_dump.cli.output import Output, wants_color
from qcow2_dump.errors import RequestError
from qcow2_dump.report.explain import explain_rule, list_rules, rules_line
from qcow2_dump.report.style import Style

__all__ = ["explain"]


def explain(code: str | None, *, json: bool, color: str) -> int:
    """Print one row of the catalogue, or all of them without a code.

    Raises RequestError for a code that does not exist.
    """
    style = Style(wants_color(color))
    output = Output()
    if code is not None and code not in RULES:
        raise RequestError(f"there is no finding {code!r}; {_hint(code)}")
    if json:
        output.lines([rules_line(list(RULES.values()) if code is None else [RULES[code]])])
    elif code is None:
        output.lines(list_rules(style))
    else:
        output.lines(explain_rule(RULES[code], style))
    output.flush()
    return exit_status.OK


def _hint(code: str) -> str:
    """What may have been meant: the codes of a family, or one that is spelled alike."""
    family = [known for known in RULES if known.startswith(f"{code.rstrip('.')}.")]
    if family:
        return f"there are: {', '.join(family)}"
    close = difflib.get_close_matches(code, RULES, n=1)
    return f"did you mean {close[0]}?" if close else "see qcow2-dump explain --list"
