"""The page as text: escaped, closed to the network, and small."""

import hashlib
import json
import re
import sys
from base64 import b64encode
from html.parser import HTMLParser
from pathlib import Path

import pytest

from qcow2_dump.errors import MissingExtraError
from qcow2_dump.events import ImageFailed, ImagePictured
from qcow2_dump.operations.reporting import run_reports
from qcow2_dump.operations.requests import ReportRequest
from qcow2_dump.report.html.engine import require_engine
from qcow2_dump.report.html.page import image_page, index_page, index_row
from tests.builder.build import build
from tests.builder.spec import Data, ImageSpec, SnapshotSpec

_NAME = "</script><b onclick=x>&amp;'\"{{ 1 + 1 }}"
_SECRET = b"the guest's own words"


class _Elements(HTMLParser):
    """The elements of a page, and the text of its scripts and styles."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: set[str] = set()
        self.inside: list[tuple[str, dict[str, str | None], str]] = []
        self.policy = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        given = dict(attrs)
        self.attributes |= set(given)
        if given.get("http-equiv") == "Content-Security-Policy":
            self.policy = given["content"] or ""
        if tag in ("script", "style"):
            self.inside.append((tag, given, ""))

    def handle_data(self, data: str) -> None:
        if self.tags and self.tags[-1] in ("script", "style"):
            tag, given, text = self.inside[-1]
            self.inside[-1] = (tag, given, text + data)

    def handle_endtag(self, tag: str) -> None:
        self.tags.append("/" + tag)


def _page(path: Path) -> str:
    for event in run_reports(ReportRequest(images=(str(path),), output="report.html")):
        if isinstance(event, ImagePictured):
            return image_page(event, "1.2.3")
    raise AssertionError("no picture")


def _hostile(folder: Path) -> Path:
    snapshot = SnapshotSpec("1", _NAME, content={1: Data(_SECRET)})
    spec = ImageSpec(content={0: Data(_SECRET)}, snapshots=(snapshot,), backing_name=_NAME)
    built = build(spec)
    built.set_l2(0, 1, 1 << 40, layer=1)
    return built.write_to(folder / "disk.qcow2")


def test_names_are_escaped_wherever_they_stand(tmp_path: Path) -> None:
    page = _page(_hostile(tmp_path))
    elements = _Elements()
    elements.feed(page)
    assert "b" not in elements.tags
    assert not any(name.startswith("on") for name in elements.attributes)
    assert "style" not in elements.attributes
    assert "{{ 1 + 1 }}" in page
    data = next(text for _, given, text in elements.inside if given.get("id") == "report-data")
    assert "<" not in data
    assert any(_NAME.replace('"', '\\"') in label for label in _labels(json.loads(data)))


def _labels(data: dict[str, dict[str, dict[str, list[str]]]]) -> list[str]:
    return data["charts"]["space"]["labels"]


def test_the_policy_allows_what_is_there_and_nothing_else(tmp_path: Path) -> None:
    elements = _Elements()
    elements.feed(_page(_hostile(tmp_path)))
    rules = dict(rule.split(" ", 1) for rule in elements.policy.split("; "))
    assert rules["default-src"] == "'none'"
    for tag, rule in (("script", "script-src"), ("style", "style-src")):
        texts = [t for name, given, t in elements.inside if name == tag and "type" not in given]
        hashes = [b64encode(hashlib.sha256(t.encode()).digest()).decode() for t in texts]
        assert rules[rule].split() == [f"'sha256-{digest}'" for digest in hashes]


def test_nothing_of_the_guest_and_nothing_from_elsewhere(tmp_path: Path) -> None:
    page = _page(_hostile(tmp_path))
    assert _SECRET.decode() not in page
    markup = re.sub(r"(?s)<script.*?</script>", "", page)
    assert not re.search(r'(?:src|href)="(?!#|data:,)', markup)
    assert "sourceMappingURL" not in page


def test_a_disk_of_many_small_pieces_makes_a_page_that_can_be_sent(tmp_path: Path) -> None:
    # Every other cluster: as many runs as there can be.
    content = {n: Data(1) for n in range(0, 16384, 2)}
    spec = ImageSpec(cluster_bits=9, content=content, virtual_size=16384 * 512)
    page = _page(build(spec).write_to(tmp_path / "disk.qcow2"))
    assert len(page) < 1 << 20


def test_the_index_links_only_what_could_be_checked(tmp_path: Path) -> None:
    sound, missing = Path("examples/sound.qcow2"), tmp_path / "<i>.qcow2"
    request = ReportRequest(images=(str(sound), str(missing)), output="report.html")
    events = run_reports(request)
    ends = [event for event in events if isinstance(event, ImagePictured | ImageFailed)]
    rows = [index_row(event, "a b#1.html") for event in ends]
    page = index_page(rows, "1.2.3", 0)
    assert 'href="a%20b%231.html"' in page
    assert page.count("href=") == 2
    assert "NOT CHECKED" in page
    assert "<i>" not in page
    assert "1970-01-01 00:00:00 UTC" in page


def test_a_finding_that_is_about_the_whole_file_is_told_once() -> None:
    page = _page(Path("examples/truncated.qcow2"))
    assert page.count("it has 114688 bytes, and by its refcounts") == 1
    assert "L2 entry points past the end of the file</small>" in page


def test_the_index_has_the_worst_first(tmp_path: Path) -> None:
    names = ("sound", "leaks", "damaged-l2", "none", "compressed", "wiped-l2")
    images = tuple(f"examples/{name}.qcow2" for name in names)
    events = run_reports(ReportRequest(images=images, output="report.html"))
    ends = [event for event in events if isinstance(event, ImagePictured | ImageFailed)]
    page = index_page([index_row(event, "page.html") for event in ends], "1.2.3", 0)
    shown = re.findall(r"examples/([a-z0-9-]+)\.qcow2", page)
    assert shown == ["none", "damaged-l2", "wiped-l2", "leaks", "sound", "compressed"]


def test_the_parts_of_the_file_come_biggest_first_with_bars() -> None:
    page = _page(Path("examples/sound.qcow2"))
    table = page[page.index('<table class="parts">') :]
    widths = [float(w) for w in re.findall(r'<rect width="([\d.]+)%"', table)]
    assert widths == sorted(widths, reverse=True)
    assert widths[0] == 100
    assert re.findall(r'<th scope="row">([^<]+)<', table)[:2] == [
        "data shared with snapshots",
        "data only snapshots hold",
    ]
    assert ">42.5 %<" in table


def _legend(path: Path, side: str) -> tuple[dict[str, int], str]:
    """What a map's legend says: bytes by class, and what is damaged."""
    page = _page(path)
    text = page.partition('id="report-data">')[2].partition("</script>")[0]
    drawn = json.loads(text)["maps"][side]
    return {entry["id"]: entry["bytes"] for entry in drawn["classes"]}, drawn["damaged"]


def test_the_legends_say_what_du_and_the_findings_say() -> None:
    held, damaged = _legend(Path("examples/damaged-l2.qcow2"), "guest")
    # Three entries lead nowhere; two more are wrong, though what they map can be read.
    assert held["unreadable"] == 12 << 10
    assert damaged == "20 KiB"
    assert held["active"] == _legend(Path("examples/damaged-l2.qcow2"), "host")[0]["active"]
    assert held["active"] == 44 << 10


def test_damage_of_snapshots_alone_is_not_drawn_on_the_present_disk(tmp_path: Path) -> None:
    page = _page(_hostile(tmp_path))
    assert "l2.beyond-end" in page
    assert "data-guest=" not in page
    assert _legend(tmp_path / "disk.qcow2", "guest")[1] == "nothing"


def test_a_disk_with_more_damage_than_is_listed_says_so(tmp_path: Path) -> None:
    built = build(ImageSpec(content={n: Data(1) for n in range(8)}, virtual_size=1 << 20))
    for index in range(8):
        built.set_l2(0, index, built.peek(built.l2_entry_offset(0, index)) | 2)
    path = str(built.write_to(tmp_path / "disk.qcow2"))
    request = ReportRequest(images=(path,), output="report.html", max_findings=3)
    (event,) = (e for e in run_reports(request) if isinstance(e, ImagePictured))
    assert '"damaged": "192 KiB or more"' in image_page(event, "1.2.3")


@pytest.mark.parametrize("path", sorted(Path("examples").glob("*.qcow2")), ids=lambda p: p.stem)
def test_names_keep_their_case_at_the_beginning_of_a_sentence(path: Path) -> None:
    markup = re.sub(r"(?s)<script.*?</script>|<style.*?</style>", "", _page(path))
    text = re.sub(r"<[^>]+>", " ", markup)
    assert set(re.findall("(?i)qemu(?!-)", text)) <= {"QEMU"}
    assert set(re.findall("(?i)qemu-img|qcow2", text)) <= {"qemu-img", "qcow2"}


def test_the_missing_engine_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "jinja2", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'qcow2-dump\[report\]'"):
        require_engine()
