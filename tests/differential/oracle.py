"""Asking the real `qemu-img check`, with limits on time and memory."""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path

from tests.corpus.qemu import image_arguments

KEYS = (
    "image-end-offset",
    "total-clusters",
    "allocated-clusters",
    "fragmented-clusters",
    "compressed-clusters",
    "corruptions",
    "leaks",
    "check-errors",
)
SECONDS = 60
MEMORY_KIB = 6 << 20


@dataclass(frozen=True)
class OracleResult:
    """What qemu-img said. `totals` is None when it printed no JSON; status -1 is a timeout."""

    status: int
    totals: dict[str, int] | None
    stderr: str

    @property
    def word(self) -> str:
        """good, leak, corrupt, errors or refused."""
        if self.totals is None:
            return "timeout" if self.status == -1 else "refused"
        return {0: "good", 1: "errors", 2: "corrupt", 3: "leak"}[self.status]


def check(path: Path, *, encrypted: bool = False) -> OracleResult:
    """Run `qemu-img check` on the qcow2 image at `path`; keys that it leaves out are 0."""
    limited = ["sh", "-c", f'ulimit -v {MEMORY_KIB} && exec "$@"', "sh"]
    asked = ["qemu-img", "check", "--output=json", *image_arguments(path, encrypted=encrypted)]
    try:
        done = subprocess.run(
            limited + asked,
            cwd=path.parent,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return OracleResult(-1, None, f"no answer within {SECONDS} s")
    if not done.stdout.strip():
        return OracleResult(done.returncode, None, done.stderr)
    document = json.loads(done.stdout)
    return OracleResult(done.returncode, {key: document.get(key, 0) for key in KEYS}, done.stderr)
