"""What has to hold between qemu-img's answer and ours."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.corpus.cases import Case
from tests.differential import oracle
from tests.differential.ours import our_totals

# Damages that may leave nothing which can be read as qcow2 at all.
UNREADABLE = ("header-", "truncated-header")


def differences(path: Path, *, encrypted: bool, may_be_unreadable: bool = False) -> list[str]:
    """Compare the two checks of the image at `path`; an empty list means that they agree.

    Where qemu-img gives totals, ours must equal them. Where it refuses the image, ours must say
    what is wrong with it, and may itself give up only if `may_be_unreadable`.
    """
    theirs = oracle.check(path, encrypted=encrypted)
    totals, document = our_totals(path)
    if theirs.totals is None:
        return _refused(document, theirs.stderr.strip(), may_be_unreadable)
    if not totals:
        return [f"no totals: {document.get('error')}; qemu-img {theirs.totals}"]
    return [
        f"{key}: qemu-img {theirs.totals[key]}, ours {totals[key]}"
        for key in oracle.KEYS
        if theirs.totals[key] != totals[key]
    ]


def of_case(case: Case, path: Path) -> list[str]:
    """The differences for a case that was materialized at `path`."""
    # Truncation may leave no byte of a small file, and so no magic either.
    unreadable = case.damage.name.startswith(UNREADABLE) or path.stat().st_size == 0
    return differences(path, encrypted=case.base.encrypted, may_be_unreadable=unreadable)


def _refused(document: dict[str, Any], reason: str, may_be_unreadable: bool) -> list[str]:
    status = document["status"]
    if status == "error":
        if may_be_unreadable and document.get("error"):
            return []
        return [f"given up: {document.get('error')}; qemu-img refuses: {reason}"]
    if status in ("good", "leak"):
        return [f"called {status}; qemu-img refuses: {reason}"]
    if not any(
        finding["severity"] in ("corruption", "warning") for finding in document["findings"]
    ):
        return [f"{status} without a reason; qemu-img refuses: {reason}"]
    return []
