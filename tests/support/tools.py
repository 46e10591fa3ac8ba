"""Programs that a test needs besides Python."""

from __future__ import annotations

import os
import shutil

import pytest

_PACKAGES = {
    "qemu-img": "qemu-utils",
    "qemu-io": "qemu-utils",
    "chromium": "chromium",
    "chattr": "e2fsprogs",
    "qemu-storage-daemon": "qemu-system-common (Debian, Ubuntu) or qemu-img (Fedora)",
}


def require_tool(name: str, what: str) -> str:
    """The path of a program; without it the test is skipped loudly, and fails where CI is set.

    ``what`` says what is not tested then.
    """
    found = shutil.which(name)
    if found is not None:
        return found
    package = _PACKAGES.get(name)
    install = "" if package is None else f"; install {package}"
    message = f"{name} is not installed: {what} was NOT tested{install}"
    if os.environ.get("CI"):
        pytest.fail(message)
    pytest.skip(message)
