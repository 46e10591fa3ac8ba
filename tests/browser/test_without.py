"""The page without scripts, without its colours, and on paper."""

from collections.abc import Callable
from pathlib import Path

from tests.browser.opened import Opened, write_page
from tests.builder.build import build
from tests.builder.spec import Data, ImageSpec

Open = Callable[..., Opened]


def test_without_scripts_there_is_nothing_that_does_nothing(opened: Open, damaged: Path) -> None:
    page = opened(damaged, scripts=False)
    assert page.page.locator("button:visible, select:visible, input:visible").count() == 0
    assert page.page.locator("canvas:visible").count() == 0
    assert not page.page.locator("#host-map").is_visible()
    assert page.page.locator("#findings tbody code").first.is_visible()
    assert not page.page.locator("#findings dl").is_visible()
    assert page.text("noscript").startswith("Maps, charts, sorting and copying need scripts")
    headings = page.page.locator("#findings th").all_inner_texts()
    assert headings[3:5] == ["Where in the file", "Guest range"]
    assert page.page.locator("#finding-7").is_visible()


def test_with_scripts_headings_are_told_once(opened: Open, damaged: Path) -> None:
    page = opened(damaged).ready()
    heading = page.page.evaluate("Report.table.text()").split("\n")[0]
    expected = ["No.", "Severity", "Code", "Where in the file", "Guest range", "Mended by"]
    assert heading.split("\t") == expected


def test_recoloured_by_the_system_the_legend_still_fits_the_map(
    opened: Open, damaged: Path
) -> None:
    page = opened(damaged).ready()
    color = "getComputedStyle(document.querySelector('#host-map .swatch')).backgroundColor"
    before = page.page.evaluate(color)
    page.page.emulate_media(forced_colors="active")
    assert page.page.evaluate(color) == before
    assert page.has_color("#host-map .cells", "--class-header")


def test_one_finding_is_no_findings(opened: Open, damaged: Path, tmp_path: Path) -> None:
    built = build(ImageSpec(content={0: Data(1)}))
    built.set_l2(0, 1, 1 << 45)
    page = opened(write_page(tmp_path, built.write_to(tmp_path / "disk.qcow2"))).ready()
    assert page.text("#findings .count") == "1 finding"
    page = opened(damaged).ready()
    cell = page.page.evaluate("Report.maps.host.layout().pitch")
    page.page.locator("#host-map .cells").hover(position={"x": cell * 21.5, "y": 10})
    words = page.text("#host-map .tip")
    # Three fit; a line that one more exists would take the same room.
    assert [f"finding {n}:" in words for n in (2, 3, 4)] == [True] * 3
    assert "more finding" not in words


def test_the_index_has_the_choice_of_colours(opened: Open, tmp_path: Path) -> None:
    images = (Path("examples/sound.qcow2"), Path("examples/leaks.qcow2"))
    page = opened(write_page(tmp_path, *images))
    background = "getComputedStyle(document.body).backgroundColor"
    light = page.page.evaluate(background)
    page.page.select_option("#theme", "dark")
    assert page.page.evaluate(background) != light
    page.page.select_option("#theme", "auto")
    assert page.page.evaluate(background) == light
