"""Runs of the check: over one opened image, and over the images of a request."""

import errno
import os
import time
from collections.abc import Iterator

from qcow2_dump.checks.checker import Checker
from qcow2_dump.checks.result import CheckResult
from qcow2_dump.checks.settling import settle
from qcow2_dump.errors import Qcow2Error, RequestError
from qcow2_dump.events import (
    Event,
    FindingSeen,
    ImageChecked,
    ImageFailed,
    ImageOpened,
    Progress,
    WriterSeen,
)
from qcow2_dump.image.image import Image, open_image
from qcow2_dump.image.resolver import LookForFiles, NeverLook
from qcow2_dump.operations.leftovers import recall
from qcow2_dump.operations.requests import DEFAULT_MAX_FINDINGS, CheckRequest
from qcow2_dump.operations.second_look import look_again
from qcow2_dump.operations.writers import look_for_writer

__all__ = ["CheckRun", "ChecksRun", "check", "default_memory", "run_checks"]

CheckEvent = WriterSeen | Progress | FindingSeen | ImageChecked


class CheckRun:
    """One check of one image, which advances as it is iterated.

    Yields `Progress` and `FindingSeen`, and `ImageChecked` at the end; `WriterSeen` when somebody
    has the image open for writing: then the result says what of it is settled. Raises SourceError
    when the image cannot be read. Iterating again goes on where the last iteration stopped.
    """

    def __init__(
        self, image: Image, *, deep: bool, max_findings: int, memory: int | None = None
    ) -> None:
        self.image = image
        self._deep = deep
        self._memory = default_memory() if memory is None else memory
        self._max_findings = max_findings
        self._checker = self._make_checker(image)
        self._writer_seen = False
        self._started = time.perf_counter()
        self._result: CheckResult | None = None
        self._events = self._run()

    def __iter__(self) -> Iterator[CheckEvent]:
        return self._events

    @property
    def result(self) -> CheckResult:
        """What the check found; runs what is left of it first."""
        for _ in self._events:
            pass
        return self.partial_result()

    @property
    def checker(self) -> Checker:
        """What did the work: its facts are complete when the check has ended."""
        return self._checker

    @property
    def seconds(self) -> float:
        """Time since the check was made, in seconds."""
        return time.perf_counter() - self._started

    def partial_result(self) -> CheckResult:
        """What was found so far; marked incomplete unless the check has ended."""
        if self._result is not None:
            return self._result
        return settle(self._checker, None) if self._writer_seen else self._checker.result()

    def _make_checker(self, image: Image) -> Checker:
        recall(image)
        return Checker(image, deep=self._deep, max_findings=self._max_findings, memory=self._memory)

    def _run(self) -> Iterator[CheckEvent]:
        yield from self._look_for_writers()
        for step in self._checker.run():
            # The last, partial cluster can lie past the total, which is only an estimate.
            yield Progress(step.stage, min(step.done, step.total), step.total)
            for finding in self._checker.log.drain():
                yield FindingSeen(finding)
        for finding in self._checker.log.drain():
            yield FindingSeen(finding)
        # Asked again: who came during the walk has changed what was being read.
        yield from self._look_for_writers()
        if self._writer_seen:
            self._result = yield from look_again(self.image, self._checker, self._make_checker)
        else:
            self._result = self._checker.result()
        yield ImageChecked(self.image.name, self._result, self.seconds)

    def _look_for_writers(self) -> Iterator[WriterSeen]:
        """Say once that there is one, or was."""
        if not self._writer_seen:
            seen = look_for_writer(self.image)
            if seen is not None:
                self._writer_seen = True
                yield seen


def check(
    image: Image,
    *,
    deep: bool = False,
    max_findings: int = DEFAULT_MAX_FINDINGS,
    memory: int | None = None,
) -> CheckRun:
    """Check an opened image; see `CheckRun` for how to follow it.

    ``check(image).result`` is the short way. ``deep`` also decompresses every compressed
    cluster; at most ``max_findings`` findings are kept, while all are counted. ``memory`` is a
    budget in bytes, by default a quarter of the machine's memory; a small one costs time, and
    changes nothing of the result. Raises RequestError when one of them is negative.
    """
    if max_findings < 0:
        raise RequestError(f"max_findings is {max_findings}, must be 0 or more")
    if memory is not None and memory < 0:
        raise RequestError(f"memory is {memory}, must be 0 or more")
    return CheckRun(image, deep=deep, max_findings=max_findings, memory=memory)


class ChecksRun:
    """The checks of a request, image after image; an iterator over their events.

    An image that cannot be opened or read gives `ImageFailed`, and the next one has its turn.
    The image of `ImageOpened` is closed when the next one is asked for.
    """

    def __init__(self, request: CheckRequest) -> None:
        self.request = request
        self._current: CheckRun | None = None
        self._events = self._run()

    def __iter__(self) -> Iterator[Event]:
        return self

    def __next__(self) -> Event:
        return next(self._events)

    def interrupted(self) -> ImageChecked | None:
        """The check that was under way when something stopped the run, as far as it had come."""
        run = self._current
        if run is None:
            return None
        return ImageChecked(run.image.name, run.partial_result(), run.seconds)

    def _run(self) -> Iterator[Event]:
        for name in self.request.images:
            try:
                yield from self._check(name)
            except (Qcow2Error, OSError) as error:
                yield _failed(name, error)
            except MemoryError:
                yield ImageFailed(name, "not enough memory", errno.ENOMEM)
            self._current = None

    def _check(self, name: str) -> Iterator[Event]:
        resolver = LookForFiles() if self.request.look_for_backing else NeverLook()
        with open_image(name, resolver=resolver, lock=self.request.lock) as image:
            # Read now: whoever shows the image must not have to expect an I/O error.
            _ = image.snapshot_table, image.bitmap_directory
            yield ImageOpened(name, image)
            self._current = check(
                image,
                deep=self.request.deep,
                max_findings=self.request.max_findings,
                memory=self.request.memory,
            )
            for event in self._current:
                if isinstance(event, ImageChecked):
                    self._current = None
                yield event


def run_checks(request: CheckRequest) -> ChecksRun:
    """Check the images of a request, one after the other."""
    return ChecksRun(request)


def default_memory() -> int | None:
    """A quarter of the machine's memory in bytes; None where the system does not tell."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 4
    except (ValueError, OSError):
        return None


def _failed(name: str, error: Qcow2Error | OSError) -> ImageFailed:
    """The event for an image that could not be opened or read."""
    reason = error.strerror if isinstance(error, OSError) else None
    return ImageFailed(name, reason or str(error), error.errno or errno.EIO)
