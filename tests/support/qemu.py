"""Run the real qemu-img and qemu-io, the judges of what tests build."""

import json
import os
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

TIMEOUT_SECONDS = 120


@dataclass(frozen=True)
class QemuCheck:
    """One run of ``qemu-img check``.

    ``totals`` are the integers of its JSON (absent ones are zero), None when it printed none,
    i.e. when it refused the image or gave up.
    """

    rc: int
    totals: dict[str, int] | None
    stderr: str

    def count(self, name: str) -> int:
        """Return one total, 0 when absent; AssertionError when the check gave up."""
        assert self.totals is not None, self.stderr
        return self.totals.get(name, 0)


def require_qemu() -> None:
    """Skip the calling test when the QEMU tools are missing; fail it where CI is set."""
    missing = [tool for tool in ("qemu-img", "qemu-io") if shutil.which(tool) is None]
    if not missing:
        return
    message = f"NOT JUDGED BY QEMU: {' and '.join(missing)} not found; install qemu-utils"
    if os.environ.get("CI"):
        pytest.fail(message)
    pytest.skip(message)


def run_tool(*arguments: str | Path, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run a QEMU tool and return what came of it, whatever its exit status.

    QEMU looks for external data files from the current directory, hence ``cwd``.
    """
    return subprocess.run(
        [str(argument) for argument in arguments],
        capture_output=True,
        text=True,
        errors="replace",
        timeout=TIMEOUT_SECONDS,
        check=False,
        cwd=cwd,
        env={**os.environ, "LC_ALL": "C"},
    )


def _check(path: Path, *source: str | Path) -> QemuCheck:
    done = run_tool("qemu-img", "check", "--output=json", *source, cwd=path.parent)
    totals = None
    if done.stdout.lstrip().startswith("{"):
        parsed = json.loads(done.stdout)
        totals = {name: value for name, value in parsed.items() if isinstance(value, int)}
    return QemuCheck(done.returncode, totals, done.stderr)


def qemu_check(path: Path) -> QemuCheck:
    """Run ``qemu-img check --output=json -f qcow2`` on an image."""
    return _check(path, "-f", "qcow2", path.absolute())


def qemu_check_encrypted(path: Path, method: str, key: str) -> QemuCheck:
    """Check an encrypted image; ``method`` is "aes" or "luks"."""
    options = f"driver=qcow2,file.driver=file,file.filename={path.absolute()}"
    options += f",encrypt.format={method},encrypt.key-secret=key"
    return _check(path, "--object", f"secret,id=key,data={key}", "--image-opts", options)


def qemu_io(path: Path, commands: Sequence[str]) -> subprocess.CompletedProcess[str]:
    """Run qemu-io commands on a qcow2 image; it exits with 1 when one fails."""
    flags = [part for command in commands for part in ("-c", command)]
    return run_tool("qemu-io", "-f", "qcow2", *flags, path.absolute(), cwd=path.parent)


def qemu_to_raw(path: Path, raw: Path, snapshot: str | None = None) -> Path:
    """Write the guest's view of an image (or of one of its snapshots) to ``raw``."""
    chosen = [] if snapshot is None else ["-l", f"snapshot.id={snapshot}"]
    files = (path.absolute(), raw.absolute())
    done = run_tool(
        "qemu-img", "convert", *chosen, "-f", "qcow2", "-O", "raw", *files, cwd=path.parent
    )
    assert done.returncode == 0, done.stderr
    return raw
