"""How a map answers the mouse, a change of the window, and the end of what it can show."""

from collections.abc import Callable
from pathlib import Path

from tests.browser.opened import Opened, write_page
from tests.builder.build import build
from tests.builder.spec import Data, ImageSpec

Open = Callable[..., Opened]


def test_the_wheel_alone_scrolls_the_page(opened: Open, damaged: Path) -> None:
    page = opened(damaged).ready()
    canvas = page.page.locator("#guest-map .cells")
    canvas.click(position={"x": 200, "y": 100})
    before = page.text("#guest-map .where")
    top = page.page.evaluate("scrollY")
    page.page.mouse.wheel(0, 200)
    page.page.wait_for_function(f"() => scrollY > {top}")
    assert page.text("#guest-map .where") == before


def test_what_is_below_the_pointer_stays_there_when_the_wheel_zooms(
    opened: Open, damaged: Path
) -> None:
    page = opened(damaged).ready()
    canvas = page.page.locator("#guest-map .cells")
    place = "Report.maps.guest.offsetAt({ offsetX: 700, offsetY: 120 })"
    offset = page.page.evaluate(place)
    canvas.hover(position={"x": 700, "y": 120})
    page.page.keyboard.down("Control")
    page.page.mouse.wheel(0, -100)
    page.page.wait_for_function("() => Report.maps.guest.unit === 32768")
    assert 0 <= offset - page.page.evaluate(place) < 65536


def test_dragging_moves_the_map_and_chooses_no_cell(opened: Open, damaged: Path) -> None:
    page = opened(damaged).ready()
    page.page.click('#guest-map [data-act="in"]')
    page.page.evaluate("Report.maps.guest.moveTo(0x600000)")
    start = page.page.evaluate("Report.maps.guest.from")
    unit, pitch = page.page.evaluate("[Report.maps.guest.unit, Report.maps.guest.layout().pitch]")
    page.page.locator("#guest-map .cells").hover(position={"x": 400, "y": 100})
    page.page.mouse.down()
    box = page.page.locator("#guest-map .cells").bounding_box()
    assert box is not None
    page.page.mouse.move(box["x"] + 400 + 3 * pitch, box["y"] + 100)
    page.page.mouse.up()
    assert page.page.evaluate("Report.maps.guest.from") == start - 3 * unit
    assert not page.page.locator("#guest-map .details").is_visible()
    page.page.locator("#guest-map .cells").click(position={"x": 400, "y": 100})
    assert page.page.locator("#guest-map .details").is_visible()


def test_the_keys_are_told_beside_the_map(opened: Open, sound: Path) -> None:
    page = opened(sound).ready()
    assert page.text("#host-map .keys").startswith("Keys: arrows")
    described = page.page.locator("#host-map .cells").get_attribute("aria-describedby")
    assert described == "host-help host-keys"


def test_a_map_that_showed_all_does_so_in_a_narrower_window(opened: Open, damaged: Path) -> None:
    page = opened(damaged).ready()
    where = "#guest-map .where"
    assert page.text(where).startswith("0x0-0x3ffffff,")
    for width in (600, 400, 1000):
        page.page.set_viewport_size({"width": width, "height": 800})
        page.page.wait_for_function(f"() => document.querySelector('.cells').clientWidth < {width}")
        assert page.text(where).startswith("0x0-0x3ffffff,")
        assert "aria-disabled" in page.page.inner_html("#guest-map .tools")
    page.page.click('#guest-map [data-act="in"]')
    near = page.page.evaluate("Report.maps.guest.unit")
    page.page.set_viewport_size({"width": 500, "height": 800})
    page.page.wait_for_function("() => document.querySelector('.cells').clientWidth < 500")
    assert page.page.evaluate("Report.maps.guest.unit") == near


def test_where_zooming_ends_the_page_says_why(opened: Open, damaged: Path) -> None:
    page = opened(damaged).ready()
    for _ in range(10):
        page.page.locator("#guest-map .cells").press("+")
    zoom = page.page.locator('#guest-map [data-act="in"]')
    assert zoom.get_attribute("title") == "A cell is a cluster"
    assert "no finer picture" not in page.text("#guest-map .where")
    # As if there had been more pieces than a page has room for.
    page.page.evaluate("Report.maps.guest.map.finest = 16384; Report.maps.guest.whole()")
    assert zoom.get_attribute("title") == ""
    for _ in range(10):
        page.page.locator("#guest-map .cells").press("+")
    words = "this page holds no finer picture"
    assert page.text("#guest-map .where").endswith(f", 16 KiB a cell; {words}")
    assert zoom.get_attribute("title") == f"One cell is 16 KiB; {words}"


def test_an_undamaged_map_answers_the_keys_for_damage(opened: Open, sound: Path) -> None:
    page = opened(sound).ready()
    page.page.locator("#host-map .cells").press("n")
    assert page.text("#host-map .where") == "No damage is known here"
    assert page.page.locator("#said").text_content() == "No damage is known here"


def test_a_disk_of_no_bytes_has_no_cells(opened: Open, tmp_path: Path) -> None:
    built = build(ImageSpec(virtual_size=0))
    page = opened(write_page(tmp_path, built.write_to(tmp_path / "empty.qcow2"))).ready()
    assert page.text("#guest-map .where").startswith("nothing")
    assert page.page.evaluate("Report.maps.guest.layout().count") == 0
    assert not page.has_color("#guest-map .cells", "--class-free")
    assert page.page.evaluate("Report.charts[0].scales.x.ticks.map((t) => t.value % 1)") == [0, 0]


def test_leaks_among_data_are_seen_though_they_fill_no_cell(opened: Open, tmp_path: Path) -> None:
    built = build(ImageSpec(cluster_bits=9, content={n: Data(1) for n in range(9000)}))
    for n in range(0, 9000, 6):
        built.set_l2(n // 64, n % 64, 0)
    page = opened(write_page(tmp_path, built.write_to(tmp_path / "disk.qcow2"))).ready()
    assert page.page.evaluate("Report.maps.host.unit") > 512
    assert page.has_color("#host-map .cells", "--class-leaked")
    assert page.has_color("#host-map .strip", "--class-leaked")
    cell = page.page.evaluate("Report.maps.host.map.cells(0x40000, 8192, 1)")
    names = page.page.evaluate("Report.maps.host.map.classes.map((entry) => entry.id)")
    assert (names[cell["kinds"][0]], names[cell["inner"][0]]) == ("active", "leaked")
