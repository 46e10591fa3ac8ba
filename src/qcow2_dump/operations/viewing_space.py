"""`du` and `map --picture`: what fills a file, and what deleting snapshots would free."""

from collections.abc import Callable

from qcow2_dump.checks.checker import Checker
from qcow2_dump.checks.space.doubts import doubts_of
from qcow2_dump.checks.space.measured import Measured
from qcow2_dump.checks.space.summing import sum_up
from qcow2_dump.checks.space.survey import Survey
from qcow2_dump.events import Progress
from qcow2_dump.image.image import Image
from qcow2_dump.operations.checking import default_memory
from qcow2_dump.operations.requests import DuRequest
from qcow2_dump.operations.selection import select_snapshot

__all__ = ["Tick", "measure", "survey_image"]

Tick = Callable[[Progress], None]
"""Told how far the work has come."""


def survey_image(image: Image, tick: Tick | None = None) -> Survey:
    """Check an image and find out who uses its clusters. Raises SourceError when that fails.

    The check counts in as little memory as any other does.
    """
    checker = Checker(image, memory=default_memory())
    for step in checker.run():
        if tick is not None:
            tick(Progress(step.stage, min(step.done, step.total), step.total))
    survey = Survey(checker)
    for step in survey.run():
        if tick is not None:
            tick(Progress(step.stage, step.done, step.total))
    return survey


def measure(image: Image, request: DuRequest, tick: Tick | None = None) -> Measured:
    """Measure what fills an image.

    Raises RequestError for a snapshot that does not exist, SourceError when the image cannot be
    read.
    """
    named = [select_snapshot(image, name) + 1 for name in request.without]
    survey = survey_image(image, tick)
    sums = sum_up(survey)
    return Measured(
        trees=survey.facts.trees,
        sums=sums,
        doubts=doubts_of(survey, sums),
        allocated=image.source.allocated() or None,
        sets=sums.sets() if request.sets else None,
        without=sums.set_of(named) if named else None,
    )
