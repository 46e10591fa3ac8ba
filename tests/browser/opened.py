"""A page of the report, opened in a browser that is watched."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

from qcow2_dump.cli.report_command import write_report
from qcow2_dump.operations.requests import ReportRequest

if TYPE_CHECKING:
    from playwright.sync_api import Browser

SECONDS = 20


def write_page(folder: Path, *images: Path) -> Path:
    """The page of an image, or the index of several, in a folder of its own."""
    output = folder / "report.html"
    names = tuple(str(image) for image in images)
    write_report(ReportRequest(images=names, output=str(output)), color="never")
    return output


class Opened:
    """A page: what it said on the console, and what it asked the network for."""

    def __init__(self, browser: Browser, path: Path, theme: str, *, scripts: bool = True) -> None:
        scheme = cast(Literal["light", "dark"], theme)
        self._context = browser.new_context(
            viewport={"width": 1200, "height": 800},
            color_scheme=scheme,
            java_script_enabled=scripts,
        )
        self.page = self._context.new_page()
        self.page.set_default_timeout(SECONDS * 1000)
        self.complaints: list[str] = []
        self.requests: list[str] = []
        self.page.on("console", lambda message: self._note(message.type, message.text))
        self.page.on("pageerror", lambda error: self._note("error", str(error)))
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.expected = {path.resolve().as_uri()}
        self.page.goto(path.resolve().as_uri())

    def ready(self) -> Opened:
        """Wait until the scripts of the page have done their work."""
        self.page.wait_for_selector("html[data-ready]")
        return self

    def follow(self, selector: str) -> Opened:
        """Click a link to another page."""
        with self.page.expect_navigation():
            self.page.click(selector)
        self.expected.add(self.page.url)
        return self

    def text(self, selector: str) -> str:
        """The text of the first element that fits."""
        return self.page.locator(selector).first.inner_text()

    def has_color(self, canvas: str, variable: str) -> bool:
        """Whether a canvas shows the colour of a CSS variable anywhere."""
        found: Any = self.page.evaluate(_FIND_COLOR, [canvas, variable])
        return bool(found)

    def close(self) -> None:
        """Close the page."""
        self._context.close()

    def _note(self, kind: str, words: str) -> None:
        # The last is said of how these tests look at a canvas.
        if kind in ("error", "warning") and "willReadFrequently" not in words:
            self.complaints.append(f"{kind}: {words}")


_FIND_COLOR = """([selector, variable]) => {
  const canvas = document.querySelector(selector);
  const color = Report.color(variable);
  const [red, green, blue] = [1, 3, 5].map((at) => parseInt(color.slice(at, at + 2), 16));
  const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
  for (let at = 0; at < data.length; at += 4) {
    if (data[at] === red && data[at + 1] === green && data[at + 2] === blue) return true;
  }
  return false;
}"""
