"""Images surveyed from beginning to end."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from qcow2_dump.checks.checker import Checker
from qcow2_dump.checks.space.survey import Survey
from qcow2_dump.image.image import open_image
from qcow2_dump.image.resolver import NeverLook


@contextmanager
def surveyed(path: Path, max_findings: int = 1000, memory: int | None = None) -> Iterator[Survey]:
    """What a check and a survey say of the image at a path, which stays open meanwhile.

    ``memory`` is the budget of the check in bytes.
    """
    with open_image(path, resolver=NeverLook()) as image:
        checker = Checker(image, max_findings=max_findings, memory=memory)
        for _ in checker.run():
            pass
        survey = Survey(checker)
        for _ in survey.run():
            pass
        yield survey
