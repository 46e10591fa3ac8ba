"""The bar: shown for what takes long, cleared at the end, one stage after the other."""

import io

import pytest

from qcow2_dump.events import Progress
from qcow2_dump.report import progress
from qcow2_dump.report.progress import ProgressBar


def shown(monkeypatch: pytest.MonkeyPatch, delay: float) -> str:
    monkeypatch.setattr(progress, "_DELAY_SECONDS", delay)
    stream = io.StringIO()
    with ProgressBar(stream) as bar:
        bar.start("a\x1b[2J.qcow2")
        for stage in ("refcounts", "tables"):
            for done in range(0, 1001, 100):
                bar.show(Progress(stage, done * 1024, 1000 * 1024))
    return stream.getvalue()


def test_a_quick_check_shows_none(monkeypatch: pytest.MonkeyPatch) -> None:
    assert shown(monkeypatch, 60).strip() == ""


def test_a_long_one_names_image_and_stage_and_ends_clean(monkeypatch: pytest.MonkeyPatch) -> None:
    text = shown(monkeypatch, 0)
    assert r"a\x1b[2J.qcow2" in text
    assert "\x1b[2J" not in text
    assert ".qcow2, tables:" in text
    assert text.rsplit("\r", 2)[1].strip() == ""
