"""A quick wrong answer is no result: what programs found is compared with what was planted."""

import json
from pathlib import Path
from typing import Any

from benchmarks.measure import ProgramError
from benchmarks.programs import Program, Totals
from benchmarks.spec import ImageSpec


def verify(program: Program, output: Path, spec: ImageSpec) -> None:
    """Compare the totals in a program's output, if it prints any. Raises ProgramError."""
    if program.totals is None:
        return
    try:
        found = _totals(json.loads(output.read_bytes()), program.totals)
    except (ValueError, KeyError, TypeError) as error:
        raise ProgramError(f"{program.name}: no totals in its output ({error!r})") from error
    if found != (spec.errors, spec.leaks):
        raise ProgramError(
            f"{program.name}: found {found[0]} corruptions and {found[1]} leaks,"
            f" planted were {spec.errors} and {spec.leaks}"
        )


def _totals(document: Any, kind: Totals) -> tuple[int, int]:
    """Corruptions and leaks in a report of ours, or in one of qemu-img, which leaves out zeros."""
    if kind is Totals.OURS:
        return document["totals"]["corruptions"], document["totals"]["leaks"]
    if document["check-errors"]:
        raise ValueError("the check failed")
    return document.get("corruptions", 0), document.get("leaks", 0)
