"""Dump, check and repair the metadata of qcow2 disk images.

The public names, resolved when they are first used: importing this package imports nothing
heavy. ``open_image(path)`` opens an image, ``check(image).result`` checks it::

    with qcow2_dump.open_image("disk.qcow2") as image:
        print(qcow2_dump.check(image).result.verdict.label)
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from qcow2_dump.checks.catalogue import RULES
    from qcow2_dump.checks.findings import Claimant, Finding, Table, Tally
    from qcow2_dump.checks.result import CheckResult, Statistics
    from qcow2_dump.checks.rule import Impact, Rule, Severity
    from qcow2_dump.checks.verdict import Verdict
    from qcow2_dump.errors import (
        FormatError,
        InterruptedChangeError,
        JournalError,
        LockedError,
        NotQcow2Error,
        PlanError,
        Qcow2Error,
        RequestError,
        SourceError,
        StalePlanError,
        TruncatedError,
        UnsafePlanError,
        UnsupportedError,
    )
    from qcow2_dump.image.image import Image, open_image
    from qcow2_dump.operations.applying import ChangeRun
    from qcow2_dump.operations.changing import open_for_change
    from qcow2_dump.operations.checking import CheckRun, check, run_checks
    from qcow2_dump.operations.requests import CheckRequest
    from qcow2_dump.operations.undoing import UndoRun
    from qcow2_dump.operations.write_requests import (
        CopyRequest,
        EditRequest,
        FlagRequest,
        RebaseRequest,
        RepairRequest,
        SnapshotRequest,
        UndoRequest,
        WriteOptions,
    )
    from qcow2_dump.plan.model import Plan
    from qcow2_dump.planners.proposal import Proposal

# The only place of it: asking what is installed would cost as much time as a small check.
__version__ = "0.1.0"

__all__ = [
    "RULES",
    "ChangeRun",
    "CheckRequest",
    "CheckResult",
    "CheckRun",
    "Claimant",
    "CopyRequest",
    "EditRequest",
    "Finding",
    "FlagRequest",
    "FormatError",
    "Image",
    "Impact",
    "InterruptedChangeError",
    "JournalError",
    "LockedError",
    "NotQcow2Error",
    "Plan",
    "PlanError",
    "Proposal",
    "Qcow2Error",
    "RebaseRequest",
    "RepairRequest",
    "RequestError",
    "Rule",
    "Severity",
    "SnapshotRequest",
    "SourceError",
    "StalePlanError",
    "Statistics",
    "Table",
    "Tally",
    "TruncatedError",
    "UndoRequest",
    "UndoRun",
    "UnsafePlanError",
    "UnsupportedError",
    "Verdict",
    "WriteOptions",
    "__version__",
    "check",
    "open_for_change",
    "open_image",
    "run_checks",
]

_HOMES = {
    "qcow2_dump.checks.catalogue": ("RULES",),
    "qcow2_dump.checks.findings": ("Claimant", "Finding", "Table", "Tally"),
    "qcow2_dump.checks.result": ("CheckResult", "Statistics"),
    "qcow2_dump.checks.rule": ("Impact", "Rule", "Severity"),
    "qcow2_dump.checks.verdict": ("Verdict",),
    "qcow2_dump.errors": (
        "FormatError",
        "InterruptedChangeError",
        "JournalError",
        "LockedError",
        "NotQcow2Error",
        "PlanError",
        "Qcow2Error",
        "RequestError",
        "SourceError",
        "StalePlanError",
        "TruncatedError",
        "UnsafePlanError",
        "UnsupportedError",
    ),
    "qcow2_dump.image.image": ("Image", "open_image"),
    "qcow2_dump.operations.checking": ("CheckRun", "check", "run_checks"),
    "qcow2_dump.operations.applying": ("ChangeRun",),
    "qcow2_dump.operations.changing": ("open_for_change",),
    "qcow2_dump.operations.requests": ("CheckRequest",),
    "qcow2_dump.operations.undoing": ("UndoRun",),
    "qcow2_dump.operations.write_requests": (
        "CopyRequest",
        "EditRequest",
        "FlagRequest",
        "RebaseRequest",
        "RepairRequest",
        "SnapshotRequest",
        "UndoRequest",
        "WriteOptions",
    ),
    "qcow2_dump.plan.model": ("Plan",),
    "qcow2_dump.planners.proposal": ("Proposal",),
}


def __getattr__(name: str) -> Any:
    for home, names in _HOMES.items():
        if name in names:
            return getattr(import_module(home), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
