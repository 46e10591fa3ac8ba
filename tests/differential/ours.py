"""Asking our own check: the one place that knows how it is started."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import qcow2_dump

SECONDS = 120
SOURCE = Path(qcow2_dump.__path__[0]).parent


def our_totals(path: Path) -> tuple[dict[str, int], dict[str, Any]]:
    """Return the totals and the whole JSON document of a check of the image at `path`.

    The totals are empty when the image could not be checked. Raises AssertionError when the
    command printed a traceback, no document, or a status that differs from its exit status.
    """
    done = subprocess.run(
        [sys.executable, "-m", "qcow2_dump", "check", "--json", str(path)],
        cwd=path.parent,
        env={**os.environ, "PYTHONPATH": str(SOURCE)},
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert "Traceback" not in done.stderr, done.stderr
    assert done.stdout.strip(), f"status {done.returncode}, no document: {done.stderr}"
    document: dict[str, Any] = json.loads(done.stdout)
    assert document["exit_status"] == done.returncode, (document["exit_status"], done.returncode)
    return document.get("totals", {}), document
