"""The page in a real browser: that it works, alone and offline, for a mouse and for a keyboard."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from qcow2_dump.report.units import share, size
from tests.browser.opened import Opened, write_page
from tests.builder.build import build
from tests.builder.spec import Data, ImageSpec

Open = Callable[..., Opened]


def test_a_sound_image_says_so_and_draws_everything(opened: Open, sound: Path) -> None:
    page = opened(sound).ready()
    assert page.text(".verdict h2").endswith("GOOD")
    assert "can be used as it is" in page.text("main")
    for canvas in ("#host-map .cells", "#host-map .strip", "#guest-map .cells"):
        assert page.has_color(canvas, "--class-shared")
        assert not page.has_color(canvas, "--damage")
    assert page.has_color("#space-chart", "--class-active")
    assert page.has_color("#fragment-chart", "--class-active")


def test_verdict_advice_and_facts_come_first(opened: Open, damaged: Path) -> None:
    page = opened(damaged).ready()
    headings = page.page.locator("h2").all_text_contents()
    assert headings[:4] == [
        "Verdict: CORRUPT",
        "What to do next",
        "What was found",
        "The image in brief",
    ]
    steps = page.page.locator("ol.steps li").all_inner_texts()
    assert steps[-1].startswith("qcow2-dump repair")
    assert "64 MiB disk" in page.text("header")
    assert "UTC" in page.text("header")


def test_zooming_by_buttons_keys_and_wheel(opened: Open, damaged: Path) -> None:
    page = opened(damaged).ready()
    where = "#guest-map .where"
    whole = page.text(where)
    page.page.click('#guest-map [data-act="in"]')
    assert page.text(where) != whole
    canvas = page.page.locator("#guest-map .cells")
    canvas.press("0")
    assert page.text(where) == whole
    canvas.press("+")
    near = page.text(where)
    assert "16 KiB a cell" in near
    canvas.press("-")
    assert page.text(where) == whole
    canvas.hover(position={"x": 200, "y": 100})
    page.page.keyboard.down("Control")
    page.page.mouse.wheel(0, -100)
    page.page.keyboard.up("Control")
    page.page.wait_for_function("() => Report.maps.guest.unit === 32768")
    for _ in range(5):
        canvas.press("+")
    assert "4 KiB a cell" in page.text(where)


def test_damage_shows_at_every_zoom(opened: Open, damaged: Path) -> None:
    page = opened(damaged).ready()
    assert page.has_color("#guest-map .strip", "--damage")
    canvas = page.page.locator("#guest-map .cells")
    canvas.press("n")
    for _ in range(5):
        assert page.has_color("#guest-map .cells", "--damage")
        canvas.press("+")
    assert page.page.evaluate("Report.maps.guest.unit") == 4096


def test_damage_is_gone_through_from_the_first_to_the_last(opened: Open, damaged: Path) -> None:
    page = opened(damaged).ready()
    places = []
    for _ in range(3):
        page.page.click("#guest-map [data-act=next]")
        places.append(page.text("#guest-map .details li:nth-child(1)").split("-")[0])
    assert places == ["guest 0x0", "guest 0x600000", "guest 0x0"]


def test_a_single_bad_cluster_of_a_large_disk_is_seen(opened: Open, tmp_path: Path) -> None:
    built = build(ImageSpec(content={5: Data(1), 900_001: Data(2)}, virtual_size=64 << 30))
    built.set_l2(900_001 // 8192, 900_001 % 8192, 1 << 45)
    page = opened(write_page(tmp_path, built.write_to(tmp_path / "large.qcow2"))).ready()
    assert page.has_color("#guest-map .strip", "--damage")
    assert page.has_color("#guest-map .cells", "--damage")
    canvas = page.page.locator("#guest-map .cells")
    canvas.press("n")
    for _ in range(10):
        canvas.press("+")
    canvas.press("Enter")
    assert f"guest {900_001 << 16:#x}-" in page.text("#guest-map .details")


def test_tooltips_tell_offset_owner_guest_address_and_finding(opened: Open, damaged: Path) -> None:
    page = opened(damaged).ready()
    tip = page.page.locator("#host-map .tip")
    assert not tip.is_visible()
    cell = page.page.evaluate("Report.maps.host.layout().pitch")
    canvas = page.page.locator("#host-map .cells")
    canvas.hover(position={"x": cell * 21.5, "y": 10})
    words = tip.inner_text()
    assert words.startswith("DAMAGED: L2 tables")
    assert "file 0x15000-0x15fff" in words
    assert "L2 table of guest 0x600000" in words
    assert "finding 2: l2.unaligned" in words
    canvas.hover(position={"x": cell * 14.5, "y": 10})
    assert "guest 0x" in tip.inner_text()
    page.page.mouse.move(5, 5)
    assert not tip.is_visible()


def test_maps_and_findings_are_linked_both_ways(opened: Open, damaged: Path) -> None:
    page = opened(damaged).ready()
    page.page.click('#finding-2 [data-show="host"]')
    details = page.text("#host-map .details")
    assert "0x15000" in details
    page.page.click("#host-map .details a >> nth=1")
    assert page.page.evaluate("document.activeElement.id") == "finding-3"
    page.page.click('#finding-3 [data-show="guest"]')
    assert "0x604000" in page.text("#guest-map .details")
    assert page.page.evaluate("document.activeElement.closest('section').id") == "guest-map"
    page.page.click("#guest-map .details a")
    assert page.page.evaluate("document.activeElement.id") == "finding-3"


def test_data_is_followed_from_one_map_to_the_other(opened: Open, damaged: Path) -> None:
    page = opened(damaged).ready()
    page.page.click('#finding-1 [data-show="guest"]')
    page.page.click("#guest-map .details button >> text=Show it in the file")
    assert "guest 0x2000" in page.text("#host-map .details")


def test_findings_are_sorted_filtered_and_copied(opened: Open, damaged: Path) -> None:
    page = opened(damaged).ready()
    rows = page.page.locator("#findings tbody tr:visible")
    numbers = page.page.locator("#findings tbody tr:visible td:first-child")
    everything = rows.count()
    page.page.click('th button[data-sort="code"]')
    codes = page.page.locator("#findings tbody td:nth-child(3)").all_inner_texts()
    assert codes == sorted(codes)
    page.page.click('th button[data-sort="guest"]')
    page.page.click('th button[data-sort="guest"]')
    assert numbers.first.inner_text() == "4"
    assert page.page.locator("th[aria-sort]").get_attribute("aria-sort") == "descending"
    page.page.select_option("#severity", "leak")
    assert rows.count() == 2
    page.page.select_option("#severity", "")
    page.page.fill("#search", "0x15000 past")
    assert rows.count() == 2
    text = page.page.evaluate("Report.table.text()")
    assert [len(line.split("\t")) for line in text.split("\n")] == [6, 6, 6]
    assert "show" not in text
    page.page.click("#copy")
    page.page.wait_for_function("() => document.querySelector('#said').textContent !== ''")
    page.page.click('ul.kinds a[data-code="l2.copied"]')
    assert rows.count() == 1
    page.page.select_option("#code", "")
    assert rows.count() == everything


def test_a_link_finds_its_row_behind_a_filter(opened: Open, damaged: Path) -> None:
    page = opened(damaged).ready()
    page.page.fill("#search", "nothing like it")
    page.page.locator("#guest-map .cells").press("n")
    page.page.click("#guest-map .details a")
    assert page.page.locator(".chosen").is_visible()


def test_the_keyboard_alone_reads_the_map(opened: Open, damaged: Path) -> None:
    page = opened(damaged).ready()
    canvas = page.page.locator("#host-map .cells")
    canvas.press("ArrowRight")
    assert page.page.locator("#said").text_content() == "header; file 0x0-0xfff (4 KiB); header"
    canvas.press("ArrowRight")
    assert "file 0x1000" in str(page.page.locator("#said").text_content())
    canvas.press("End")
    assert "0x35000" in str(page.page.locator("#said").text_content())
    canvas.press("Enter")
    assert page.page.locator("#host-map .details").is_visible()
    page.page.keyboard.press("Tab")
    assert page.page.evaluate("document.activeElement.tagName") == "BUTTON"


def test_one_class_can_be_shown_alone(opened: Open, damaged: Path) -> None:
    page = opened(damaged).ready()
    button = page.page.locator("#host-map .legend button").first
    button.click()
    assert button.get_attribute("aria-pressed") == "true"
    assert page.has_color("#host-map .cells", "--class-header")
    assert not page.has_color("#host-map .cells", "--class-shared")
    button.click()
    assert page.has_color("#host-map .cells", "--class-shared")


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("image", ["sound", "damaged"])
def test_both_themes_are_accessible(
    opened: Open, axe: Any, request: pytest.FixtureRequest, theme: str, image: str
) -> None:
    page = opened(request.getfixturevalue(image), theme=theme).ready()
    page.page.locator("#host-map .cells").press("Enter")
    found = axe.run(page.page)
    assert found.violations_count == 0, found.generate_report()


def test_the_reader_chooses_the_theme(opened: Open, sound: Path) -> None:
    page = opened(sound).ready()
    background = "getComputedStyle(document.body).backgroundColor"
    light = page.page.evaluate(background)
    page.page.select_option("#theme", "dark")
    assert page.page.evaluate(background) != light
    assert page.has_color("#host-map .cells", "--class-active")
    page.page.select_option("#theme", "auto")
    assert page.page.evaluate(background) == light


def test_paper_gets_the_facts_without_the_buttons(opened: Open, damaged: Path) -> None:
    page = opened(damaged, theme="dark").ready()
    assert not page.page.locator("#findings dl").is_visible()
    page.page.evaluate("window.dispatchEvent(new Event('beforeprint'))")
    page.page.emulate_media(media="print")
    assert not page.page.locator("#host-map .tools").is_visible()
    assert page.page.locator("#finding-7").is_visible()
    # Text, as browsers repeat no buttons at the head of each page.
    assert page.page.locator("th .printed >> text=Where in the file").is_visible()
    assert not page.page.locator("#findings tbody code").first.is_visible()
    assert page.text("#findings dl").count("--drop-unusable") == 2
    page.page.set_viewport_size({"width": 700, "height": 1000})
    assert page.page.evaluate("document.documentElement.scrollWidth") <= 700
    assert page.page.locator("#host-map .legend").is_visible()
    assert page.page.evaluate("document.documentElement.dataset.theme") == "light"
    page.page.evaluate("window.dispatchEvent(new Event('afterprint'))")
    assert page.page.evaluate("document.documentElement.dataset.theme") is None


def test_it_fits_a_narrow_window(opened: Open, damaged: Path) -> None:
    page = opened(damaged).ready()
    page.page.set_viewport_size({"width": 420, "height": 800})
    page.page.wait_for_function("() => document.querySelector('.cells').clientWidth < 420")
    assert page.page.evaluate("document.documentElement.scrollWidth") <= 420


def test_scripts_round_numbers_as_the_tables_do(opened: Open, damaged: Path) -> None:
    page = opened(damaged).ready()
    lengths = [0, 1, 1000, 1023, 1 << 10, 16_000_000, 250 << 16, 1_234_567, (1 << 40) - 1, 151_552]
    lengths += [(1 << 20) * n // 8 for n in range(1, 24)]
    lengths += [n << 9 for n in (201, 203, 205, 2047)]
    sizes = page.page.evaluate("(all) => all.map(Report.size)", lengths)
    assert sizes == [size(length) for length in lengths]
    parts = [0, 1, 3, 40, 100, 8_000, 12_250, 12_650, 31_250, 93_750, 99_949, 99_950, 100_000]
    shares = page.page.evaluate("(all) => all.map((part) => Report.percent(part, 1e5))", parts)
    assert shares == [share(part, 100_000) for part in parts]


def test_several_images_have_an_index(opened: Open, tmp_path: Path) -> None:
    images = [Path("examples/sound.qcow2"), tmp_path / "none.qcow2", Path("examples/leaks.qcow2")]
    page = opened(write_page(tmp_path, *images))
    rows = page.page.locator("tbody tr").all_inner_texts()
    assert ["NOT CHECKED" in rows[0], "LEAK" in rows[1], "GOOD" in rows[2]] == [True] * 3
    page.page.set_viewport_size({"width": 400, "height": 800})
    for row in range(3):
        box = page.page.locator("tbody .heading").nth(row).bounding_box()
        assert box is not None
        assert box["x"] + box["width"] <= 400
    page.follow("a >> text=leaks").ready()
    assert page.text("h1") == "examples/leaks.qcow2"
    page.follow("a >> text=All images")
    assert page.page.title() == "qcow2-dump: 3 images"
