"""Renew the pictures of a page in ``docs/images``: run it as ``python -m scripts.page_pictures``.

It makes a damaged image, writes its page, and looks at that with the system's Chromium.
"""

import random
import shutil
import sys
import tempfile
from contextlib import chdir
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from qcow2_dump.cli.main import main as qcow2_dump
from tests.builder.build import build
from tests.builder.built import BuiltImage
from tests.builder.spec import (
    BitmapSpec,
    Compressed,
    Content,
    Data,
    ImageSpec,
    SnapshotSpec,
    ZeroPlain,
)

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

IMAGES = Path(__file__).resolve().parent.parent / "docs" / "images"
NAME = "db02.qcow2"

_CLUSTERS = 65_536
_RUNS = 60
_OF_TABLE = 8192
_WIDTH = 1160
_FLAGS = ("--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking")


def disk() -> BuiltImage:
    """A server's disk of 4 GiB with three snapshots, after something went wrong."""
    chance = random.Random(11)  # noqa: S311 - the same picture every time
    content: dict[int, Content] = {}
    old: set[int] = set()
    for run in range(_RUNS):
        start = run * _CLUSTERS // _RUNS + chance.randrange(200)
        kind: Content = Data(b"x")
        if run % 12 == 5:
            kind = Compressed()
        elif run % 12 == 9:
            kind = ZeroPlain()
        held = range(start, start + chance.randrange(40, 500))
        content.update(dict.fromkeys(held, kind))
        if run % 5 > 1:
            old.update(held)
    shared = frozenset(old)
    spec = ImageSpec(
        virtual_size=_CLUSTERS << 16,
        content=content,
        snapshots=(
            SnapshotSpec("1", "installed", _rewritten(chance, old, 160), shared=shared),
            SnapshotSpec("2", "before the upgrade", _rewritten(chance, old, 90), shared=shared),
            SnapshotSpec("3", "nightly", shared=shared),
        ),
        bitmaps=(BitmapSpec("backup", table={0: b"\xff"}),),
    )
    return _damaged(build(spec), sorted(content), content)


def _rewritten(chance: random.Random, guests: set[int], number: int) -> dict[int, Content]:
    """Clusters of a snapshot that were written anew later."""
    return dict.fromkeys(chance.sample(sorted(guests), number), Data(b"y"))


def _damaged(built: BuiltImage, guests: list[int], content: dict[int, Content]) -> BuiltImage:
    """Entries that lead nowhere, wrong flags, and refcounts that are lost or too low."""
    data = [guest for guest in guests if isinstance(content[guest], Data)]
    for place, changes in ((0.21, 12), (0.47, 3), (0.8, 16)):
        first = int(len(data) * place)
        for number, guest in enumerate(data[first : first + changes]):
            table, entry = divmod(guest, _OF_TABLE)
            raw = built.peek(built.l2_entry_offset(table, entry))
            wrong = {12: 1 << 46 | number << 16, 3: raw + 0x200, 16: raw ^ 1 << 63}[changes]
            built.set_l2(table, entry, wrong)
    for guest in data[int(len(data) * 0.6) :][:3]:
        built.set_refcount(built.active.data[guest] >> 16, 0)
    return built


def main() -> int:
    """Make both pictures; returns the exit status of the program."""
    from playwright.sync_api import sync_playwright

    chromium = shutil.which("chromium")
    if chromium is None:
        sys.exit("there is no chromium to look at the page with")
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        page = Path(folder) / "report.html"
        with chdir(folder):  # the page names the image as it was called
            disk().write_to(Path(NAME))
            qcow2_dump(["report", NAME, "-o", str(page)])
        browser = playwright.chromium.launch(executable_path=chromium, args=list(_FLAGS))
        light = _opened(browser, page, "light", 880)
        light.screenshot(path=IMAGES / "report-light.png")
        dark = _opened(browser, page, "dark", 1046)
        dark.evaluate("document.getElementById('host-map').scrollIntoView()")
        dark.evaluate("window.scrollBy(0, -14)")
        _point_at_damage(dark)
        dark.screenshot(path=IMAGES / "report-dark.png")
        browser.close()
    return 0


def _opened(browser: "Browser", path: Path, theme: Literal["light", "dark"], height: int) -> "Page":
    page = browser.new_page(viewport={"width": _WIDTH, "height": height}, color_scheme=theme)
    page.goto(path.as_uri())
    page.wait_for_selector("html[data-ready]")
    return page


def _point_at_damage(page: "Page") -> None:
    """Let the tooltip say what is wrong with the second damaged place of the disk."""
    x, y = page.evaluate(
        """() => {
          const view = Report.maps.guest;
          const layout = view.layout();
          const cell = Math.floor(view.map.damage[1].from / view.unit);
          const box = view.canvas.getBoundingClientRect();
          return [
            box.x + (cell % layout.columns + 0.5) * layout.pitch,
            box.y + (Math.floor(cell / layout.columns) + 0.5) * layout.pitch,
          ];
        }"""
    )
    page.mouse.move(x, y)


if __name__ == "__main__":
    sys.exit(main())
