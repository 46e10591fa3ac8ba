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
        LockedError,
        NotQcow2Error,
        Qcow2Error,
        RequestError,
        SourceError,
        TruncatedError,
        UnsupportedError,
    )
    from qcow2_dump.image.image import Image, open_image
    from qcow2_dump.operations.checking import CheckRun, check, run_checks
    from qcow2_dump.operations.requests import CheckRequest

    __version__: str

__all__ = [
    "RULES",
    "CheckRequest",
    "CheckResult",
    "CheckRun",
    "Claimant",
    "Finding",
    "FormatError",
    "Image",
    "Impact",
    "LockedError",
    "NotQcow2Error",
    "Qcow2Error",
    "RequestError",
    "Rule",
    "Severity",
    "SourceError",
    "Statistics",
    "Table",
    "Tally",
    "TruncatedError",
    "UnsupportedError",
    "Verdict",
    "__version__",
    "check",
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
        "LockedError",
        "NotQcow2Error",
        "Qcow2Error",
        "RequestError",
        "SourceError",
        "TruncatedError",
        "UnsupportedError",
    ),
    "qcow2_dump.image.image": ("Image", "open_image"),
    "qcow2_dump.operations.checking": ("CheckRun", "check", "run_checks"),
    "qcow2_dump.operations.requests": ("CheckRequest",),
}


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import PackageNotFoundError, version

        try:
            return version("qcow2-dump")
        except PackageNotFoundError:  # run from a checkout
            return "0+not-installed"
    for home, names in _HOMES.items():
        if name in names:
            return getattr(import_module(home), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
