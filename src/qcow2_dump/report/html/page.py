"""The page about one image, and the index of several: what the templates are given."""

from collections.abc import Sequence
from dataclasses import dataclass

from qcow2_dump.checks.verdict import Verdict
from qcow2_dump.events import ImageFailed, ImagePictured
from qcow2_dump.report import commands
from qcow2_dump.report.advice import advise
from qcow2_dump.report.escape import one_line, printable
from qcow2_dump.report.html.engine import Templates
from qcow2_dump.report.html.finding_rows import FindingRow, finding_rows, kind_rows
from qcow2_dump.report.html.fragmentation import fragmentation_rows
from qcow2_dump.report.html.map_data import map_data
from qcow2_dump.report.html.space_rows import space_rows
from qcow2_dump.report.html.withheld import (
    renamed_trees,
    shown_bitmaps,
    shown_entries,
    shown_result,
    unusable,
)
from qcow2_dump.report.info_text import (
    bitmap_rows,
    fact_rows,
    feature_rows,
    place_rows,
    snapshot_cells,
)
from qcow2_dump.report.places import Trees
from qcow2_dump.report.summary import checked_line, image_line, verdict_words
from qcow2_dump.report.units import counted, size, utc

__all__ = ["IndexRow", "image_page", "index_page", "index_row"]

# The colour of a verdict: everything else is damage.
_LEVELS = {
    Verdict.GOOD: "good",
    Verdict.LEAK: "minor",
    Verdict.COPIED: "minor",
    Verdict.FLAGGED: "minor",
    Verdict.FLAG: "minor",
    Verdict.OTHER: "minor",
}


@dataclass(frozen=True, slots=True)
class IndexRow:
    """An image in the index: its page, empty where there is none, and its verdict.

    ``rank`` is lowest for the worst.
    """

    name: str
    page: str
    heading: str
    level: str
    words: str
    facts: str
    rank: int


def image_page(pictured: ImagePictured, version: str, index: str = "") -> str:
    """The page about one image; ``index`` is the file name of the index it belongs to."""
    image, checked = pictured.image, pictured.checked
    entries = shown_entries(image)
    result = shown_result(checked.result, image, entries)
    lost = unusable(image, entries)
    heading, words = verdict_words(result, image)
    advice = advise(result, image)
    trees, labels = Trees(image, entries), renamed_trees(image, entries)
    findings = list(finding_rows(result, image, trees))

    def tree_name(label: str) -> str:
        return trees.name(labels.get(label, label))

    data = map_data(pictured.picture, image, findings, result.omitted, tree_name)
    data["locate"] = commands.command("locate", commands.path(image.name))
    bitmaps = shown_bitmaps(pictured.info.bitmaps, image)
    fragments = fragmentation_rows(pictured.picture.guest.fragmentation, result.statistics)
    space = space_rows(pictured.picture, image, entries)
    data["charts"] = {"space": space.chart, "fragments": fragments.chart}
    return Templates().render(
        "image.html",
        data=data,
        version=version,
        index=index,
        name=printable(pictured.name),
        checked_at=utc(pictured.started),
        file_size=size(image.source.size),
        verdict={"heading": heading, "level": _LEVELS.get(result.verdict, "bad"), "words": words},
        image_line=image_line(image),
        checked_line=checked_line(checked, image),
        refusal=one_line(result.refusal or ""),
        advice=advice,
        kinds=kind_rows(result),
        triage=result.triage,
        facts=_brief(pictured),
        places=list(place_rows(pictured.info)),
        features=feature_rows(pictured.info.features),
        snapshots=snapshot_cells(tuple(e for e in entries if e.position not in lost)),
        lost_records=_lost(len(lost), "snapshot record"),
        bitmaps=bitmap_rows(bitmaps),
        lost_bitmaps=_lost(len(pictured.info.bitmaps) - len(bitmaps), "bitmap"),
        more=_more(len(entries) - len(lost)),
        raw_values=commands.command("check", commands.path(image.name), "--errors"),
        findings=findings,
        commands=_commands(findings),
        omitted=result.omitted,
        space=space,
        du_command=commands.command("du", commands.path(image.name)),
        fragments=fragments,
    )


def index_page(rows: Sequence[IndexRow], version: str, written_at: int) -> str:
    """The index of several images: the worst first, then in the order that is given."""
    rows = sorted(rows, key=lambda row: row.rank)
    return Templates().render("index.html", rows=rows, version=version, written_at=utc(written_at))


def index_row(found: ImagePictured | ImageFailed, page: str) -> IndexRow:
    """What the index says of one image; ``page`` is the file name of its page."""
    name = printable(found.name)
    if isinstance(found, ImageFailed):
        return IndexRow(name, "", "NOT CHECKED", "bad", one_line(found.reason), "", -1)
    image = found.image
    result = shown_result(found.checked.result, image, shown_entries(image))
    heading, words = verdict_words(result, image)
    level = _LEVELS.get(result.verdict, "bad")
    return IndexRow(name, page, heading, level, words, image_line(image), result.verdict.rank)


def _brief(pictured: ImagePictured) -> list[tuple[str, str]]:
    """What the image is, without what was not looked at."""
    info = pictured.info
    rows = [("format", f"qcow2 version {info.header.version}"), *fact_rows(info)]
    return [(label, value) for label, value in rows if label != "preallocation"]


def _commands(findings: Sequence[FindingRow]) -> dict[str, list[str]]:
    """The commands that mend findings, by code: paper has no room for one in each row."""
    found: dict[str, dict[str, None]] = {}
    for row in findings:
        if row.command:
            found.setdefault(row.code, {})[row.command] = None
    return {code: list(lines) for code, lines in found.items()}


def _more(usable: int) -> str:
    """How many snapshots are not listed."""
    left = usable - 200
    return counted(left, "more snapshot") if left > 0 else ""


def _lost(count: int, what: str) -> str:
    return (
        f"{counted(count, what)} cannot be used: what is written there is not shown"
        if count
        else ""
    )
