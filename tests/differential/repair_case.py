"""One damaged image through everything: QEMU's repair, ours, once more, taken back, and forth."""

from __future__ import annotations

import shutil
from functools import cache
from pathlib import Path

import qcow2_dump
from tests.corpus.base import Base, copy_beside
from tests.corpus.cases import Case, materialize, path_of
from tests.differential import oracle, repair_qemu
from tests.differential.repair_guest import Guest, read_guest, share
from tests.differential.repair_judge import Checked, Later, Outcome, State, Totals
from tests.differential.repair_ours import run, undo_files
from tests.differential.repair_stored import Data, data_of, stored

REPAIR = ("repair", "--all", "--yes")


def examine(case: Case, folder: Path) -> Outcome:
    """Try everything on one case, in a folder of its own that is gone afterwards."""
    path = materialize(case, folder)
    try:
        return _examine(case, path)
    finally:
        shutil.rmtree(path.parent)


@cache
def guest_of(base: Base) -> Guest:
    """What the guest read before the damage."""
    return read_guest(path_of(base))


@cache
def data_of_base(base: Base) -> Data:
    """Which clusters of the file hold guest data."""
    return data_of(path_of(base))


def theirs(case: Case, path: Path) -> State:
    """What QEMU's own repair makes of a copy of the image."""
    beside = path.parent.with_name(f"{path.parent.name}.theirs")
    copy_beside(path.parent, beside)
    try:
        result = repair_qemu.repair(beside / path.name, encrypted=case.base.encrypted)
        return _state(case, beside / path.name, result.totals)
    finally:
        shutil.rmtree(beside)


def state_of(case: Case, path: Path) -> State:
    """The image as it is."""
    return _state(case, path, oracle.check(path, encrypted=case.base.encrypted).totals)


def _state(case: Case, path: Path, totals: Totals) -> State:
    seen = share(guest_of(case.base), read_guest(path))
    return State(totals, seen, stored(data_of_base(case.base), path))


def _examine(case: Case, path: Path) -> Outcome:
    original = path.read_bytes()
    damaged, rival = state_of(case, path), theirs(case, path)
    ran = run(*REPAIR, path)
    repaired = path.read_bytes()
    changed = repaired != original
    ours = state_of(case, path) if changed else damaged
    check = _checked(path)
    again = tuple(_again(path, repaired))
    # What the second repair did would be taken back first.
    undo = tuple(_undone(path, original, repaired)) if changed and not again else ()
    freed = _freed(case, path) if ours.leaks and not undo else None
    later = Later(again, undo, freed)
    return Outcome(case.name, case.damage.name, damaged, rival, ours, ran, check, changed, later)


def _checked(path: Path) -> Checked | None:
    try:
        with qcow2_dump.open_image(path) as image:
            result = qcow2_dump.check(image).result
    except qcow2_dump.Qcow2Error:
        return None
    codes = {found.code for found in result.findings if found.severity.value == "corruption"}
    return Checked(result.triage.waste, result.triage.orphans, frozenset(codes))


def _again(path: Path, repaired: bytes) -> list[str]:
    """The same repair has nothing to do."""
    before = undo_files(path)
    second = run(*REPAIR, path)
    found = []
    if path.read_bytes() != repaired:
        found.append(f"again: the second repair changed the image: {second.said.strip()[-200:]}")
    elif undo_files(path) != before:
        found.append("again: the second repair left another undo file")
    return found


def _undone(path: Path, original: bytes, repaired: bytes) -> list[str]:
    """Taking it back gives the image as it was, and taking that back the repaired one."""
    if not undo_files(path):
        return ["undo: no undo file"]
    for name, expected in (("undo", original), ("undo of the undo", repaired)):
        ran = run("undo", "--yes", path)
        got = path.read_bytes()
        if ran.status or got != expected:
            sizes = "" if len(got) == len(expected) else f", {len(got)} for {len(expected)} bytes"
            return [f"undo: {name}: [{ran.status}] {ran.said.strip()[-200:]}{sizes}"]
    return []


def _freed(case: Case, path: Path) -> State:
    run(*REPAIR, "--free-orphans", path)
    return state_of(case, path)
