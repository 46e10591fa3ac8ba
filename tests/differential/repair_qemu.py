"""What `qemu-img check -r` makes of an image: its totals afterwards, and the guest's disk."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

from tests.corpus.qemu import image_arguments
from tests.differential.oracle import KEYS, MEMORY_KIB, OracleResult

SECONDS = 15
"""QEMU can be busy for hours with an image whose header says that it is large."""


def repair(path: Path, *, encrypted: bool = False, mode: str = "all") -> OracleResult:
    """Repair the image at `path` in place; the totals are those that are left."""
    limited = ["sh", "-c", f'ulimit -v {MEMORY_KIB} && exec "$@"', "sh"]
    target = image_arguments(path, encrypted=encrypted)
    try:
        done = subprocess.run(
            [*limited, "qemu-img", "check", "-r", mode, "--output=json", *target],
            cwd=path.parent,
            stdout=subprocess.PIPE,
            # Millions of lines about the same image would take a minute to read.
            stderr=subprocess.DEVNULL,
            text=True,
            errors="replace",
            timeout=SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return OracleResult(-1, None, f"no answer within {SECONDS} s")
    if not done.stdout.strip():
        return OracleResult(done.returncode, None, "")
    document = json.loads(done.stdout)
    return OracleResult(done.returncode, {key: document.get(key, 0) for key in KEYS}, "")
