"""A browser for the tests of the pages, started once for all of them."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.browser.opened import Opened, write_page
from tests.support.tools import require_tool

if TYPE_CHECKING:
    from playwright.sync_api import Browser

_WHAT = "what a browser makes of the report"
_QUIET = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """The system's Chromium; where it is missing, the tests are skipped, and fail in CI."""
    path = require_tool("chromium", _WHAT)
    _require_package("playwright", _WHAT)
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=path, headless=True, args=list(_QUIET))
        yield started
        started.close()


@pytest.fixture
def axe() -> Any:
    """The automated accessibility check; skipped and failing as the browser is."""
    _require_package("axe_playwright_python", "whether the report is accessible")
    from axe_playwright_python.sync_playwright import Axe

    return Axe()


def _require_package(name: str, what: str) -> None:
    if importlib.util.find_spec(name) is None:
        message = f"the Python package {name} is not installed: {what} was NOT tested"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)


@pytest.fixture
def opened(browser: Browser) -> Iterator[Callable[..., Opened]]:
    """Opens pages; at the end none may have complained, or asked for anything but itself."""
    contexts: list[Opened] = []

    def open_page(path: Path, *, theme: str = "light", scripts: bool = True) -> Opened:
        page = Opened(browser, path, theme, scripts=scripts)
        contexts.append(page)
        return page

    yield open_page
    for page in contexts:
        page.close()
    for page in contexts:
        assert page.complaints == []
        assert {url for url in page.requests if not url.startswith("data:")} <= page.expected


@pytest.fixture(scope="session")
def damaged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of a damaged image: findings of several kinds, a snapshot, thousands of clusters."""
    return write_page(tmp_path_factory.mktemp("damaged"), Path("examples/damaged-l2.qcow2"))


@pytest.fixture(scope="session")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of a sound image with snapshots and bitmaps."""
    return write_page(tmp_path_factory.mktemp("sound"), Path("examples/sound.qcow2"))
