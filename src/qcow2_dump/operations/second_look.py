"""A second look at an image that somebody is writing to, to tell damage from work in progress."""

from collections.abc import Callable, Generator

from qcow2_dump.checks.checker import Checker
from qcow2_dump.checks.result import CheckResult
from qcow2_dump.checks.settling import needs_second_look, settle
from qcow2_dump.errors import Qcow2Error
from qcow2_dump.events import Progress
from qcow2_dump.image.image import Image

__all__ = ["look_again"]


def look_again(
    image: Image, first: Checker, make: Callable[[Image], Checker]
) -> Generator[Progress, None, CheckResult]:
    """Check an image once more where that can tell something; returns the settled result.

    ``make`` gives a checker like the ``first`` one, which has run to its end. An image that cannot
    be read any more leaves nothing settled.
    """
    if not needs_second_look(first.result()):
        return settle(first, None)
    try:
        with image.again() as again:
            second = make(again)
            for step in second.run():
                yield Progress(f"{step.stage} again", min(step.done, step.total), step.total)
    except Qcow2Error:
        return settle(first, None)
    return settle(first, second)
