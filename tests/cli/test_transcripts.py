"""The classic report is what it was: golden transcripts, which also keep the line shapes."""

from pathlib import Path

import pytest

from tests.cli.transcripts import FOLDER, TRANSCRIPTS, Transcript
from tests.support.classic_lines import parse


@pytest.mark.parametrize("transcript", TRANSCRIPTS, ids=lambda transcript: transcript.name)
def test_transcript(transcript: Transcript, tmp_path: Path) -> None:
    text = transcript.run(tmp_path)
    assert text == transcript.path.read_text(encoding="utf-8"), (
        "if this is meant to be: python -m tests.cli.transcripts --write"
    )
    assert list(parse(text))


def test_no_transcript_is_left_over() -> None:
    assert {path.stem for path in FOLDER.iterdir()} == {made.name for made in TRANSCRIPTS}
