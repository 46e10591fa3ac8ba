"""What the measurements were made on."""

import importlib.metadata
import os
import platform
import shutil
import subprocess
from pathlib import Path


def describe() -> dict[str, str]:
    """The machine and the versions that matter, in the order in which they are printed."""
    return {
        "cores": str(len(os.sched_getaffinity(0))),
        "cpu": _cpu_model(),
        "memory": f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 1e9:.0f} GB",
        "kernel": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        # Asked for without loading it: the runner must stay small.
        "numpy": importlib.metadata.version("numpy"),
        "qemu-img": _qemu_version(),
    }


def _cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        name, _, value = line.partition(":")
        if name.strip() == "model name":
            return value.strip()
    return platform.machine()


def _qemu_version() -> str:
    if shutil.which("qemu-img") is None:
        return "not there"
    done = subprocess.run(["qemu-img", "--version"], capture_output=True, text=True, check=True)
    return done.stdout.splitlines()[0].removeprefix("qemu-img version ")
