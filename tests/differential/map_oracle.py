"""Asking `qemu-img map`, and our own map in the same words."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import chdir
from pathlib import Path
from typing import Any

from qcow2_dump.image.extents import Extent
from qcow2_dump.operations.requests import MapRequest
from qcow2_dump.operations.viewing_map import open_map
from qcow2_dump.report.map_report import map_json
from tests.corpus.qemu import image_arguments

SECONDS = 60
ATTEMPTS = 3


def their_map(path: Path, *, encrypted: bool = False) -> tuple[str | None, str]:
    """What `qemu-img map` prints, None when it fails; and its complaint."""
    done = subprocess.run(
        ["qemu-img", "map", "--output=json", *image_arguments(path, encrypted=encrypted)],
        cwd=path.parent,
        capture_output=True,
        text=True,
        errors="replace",
        timeout=SECONDS,
        check=False,
    )
    return (done.stdout if done.returncode == 0 else None), done.stderr


def our_map(
    path: Path, *, chain: bool = True, details: bool = False, snapshot: str | None = None
) -> str:
    """What we print, as it is printed."""
    request = MapRequest(image=str(path), chain=chain, snapshot=snapshot)
    # A data file's name is relative to the working directory.
    with chdir(path.parent), open_map(request) as run:
        pieces = map_json(run.batches(), run.tree, run.disk, details=details)
        return "".join(f"{piece}\n" for piece in pieces)


def extents(
    path: Path, *, chain: bool = False, snapshot: str | None = None
) -> tuple[int, list[Extent]]:
    """The size of the disk, and the extents before neighbours of different batches are joined."""
    request = MapRequest(image=str(path), chain=chain, snapshot=snapshot)
    with chdir(path.parent), open_map(request) as run:
        found = [extent for batch in run.batches() for extent in batch.extents()]
        return run.disk.size, found


def differences(path: Path, *, encrypted: bool = False) -> list[str]:
    """Rows that only one of the two prints; empty as well when qemu-img cannot map the image."""
    found: list[str] = []
    for _ in range(ATTEMPTS):
        # What the file system calls a hole changes while it writes files back.
        ours = our_map(path)
        theirs, _ = their_map(path, encrypted=encrypted)
        found = [] if theirs is None or theirs == ours else list(_unlike(theirs, ours))
        if not found:
            break
    return found


def assert_tiles(size: int, found: list[Extent]) -> None:
    """Every byte of the disk lies in exactly one extent."""
    at = 0
    for extent in found:
        assert (extent.start, extent.length > 0) == (at, True)
        at += extent.length
    assert at == size


def rows(text: str) -> list[dict[str, Any]]:
    """The rows of a printed document."""
    parsed: list[dict[str, Any]] = json.loads(text)
    return parsed


def _unlike(theirs: str, ours: str) -> Iterator[str]:
    left, right = rows(theirs), rows(ours)
    yield from (f"only qemu-img: {row}" for row in left if row not in right)
    yield from (f"only ours: {row}" for row in right if row not in left)
    if left == right:
        yield f"printed otherwise: {theirs[:200]!r}, ours {ours[:200]!r}"
