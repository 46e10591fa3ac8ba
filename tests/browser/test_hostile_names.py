"""Names from an image in a browser: text, never markup or script."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.browser.opened import Opened, write_page
from tests.builder.build import build
from tests.builder.spec import BitmapSpec, Data, ImageSpec, SnapshotSpec
from tests.hostile.test_names import NAMES, write_named_image

_MARKUP = (
    "<script>window.owned=1</script>",
    "</script><script>window.owned=1</script>",
    "\"><img src=x onerror='window.owned=1'>",
    "'-window.owned=1-'",
    "<!--<script>",
    "{{ 7 * 7 }}{% raw %}",
    "`<svg/onload=window.owned=1>`",
    "javascript:window.owned=1",
    "]]></style><style>*{display:none}",
)

_SCRIPTS = 11


def test_markup_in_names_is_text(opened: Callable[..., Opened], tmp_path: Path) -> None:
    snapshots = [SnapshotSpec(str(n), name) for n, name in enumerate(_MARKUP)]
    spec = ImageSpec(
        content={0: Data(1)},
        snapshots=(SnapshotSpec(_MARKUP[0], _MARKUP[1], content={1: Data(2)}), *snapshots),
        bitmaps=tuple(BitmapSpec(name, table={0: b"x"}) for name in _MARKUP),
        backing_name=_MARKUP[2],
        backing_format="raw",
    )
    built = build(spec)
    built.set_l2(0, 1, 1 << 40, layer=1)
    path = built.write_to(tmp_path / f"{_MARKUP[1]}{_MARKUP[2]}.qcow2".replace("/", "_"))
    page = opened(write_page(tmp_path, path)).ready()
    page.page.locator("#host-map .cells").press("n")
    page.page.locator("#guest-map .cells").press("ArrowRight")
    assert page.page.evaluate("typeof window.owned") == "undefined"
    # Ours: the chart library, the scripts, the data. A name adds none, nor a style or an image.
    assert page.page.locator("script").count() == _SCRIPTS
    assert page.page.locator("img, svg:not(.share), iframe, object").count() == 0
    assert page.page.locator("style").count() == 2
    shown = page.page.locator("main").text_content() or ""
    for name in _MARKUP:
        assert name.replace('"', '\\"') in shown
    assert page.page.locator("h1").is_visible()


@pytest.mark.parametrize("name", ["bidi", "invalid", "long"])
def test_names_that_are_no_text_at_all(
    opened: Callable[..., Opened], tmp_path: Path, name: str
) -> None:
    path = tmp_path / "named.qcow2"
    write_named_image(path, NAMES[name])
    page = opened(write_page(tmp_path, path)).ready()
    shown = page.page.locator("body").text_content() or ""
    assert not any(sign in shown for sign in "\x1b\u202e\x85\u2028\x07")
