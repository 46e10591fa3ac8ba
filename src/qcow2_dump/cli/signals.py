"""SIGINT and SIGTERM as one exception, so that a run can still say how far it came."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

__all__ = ["Stopped", "stop_on_signals"]

_STOPPING = (signal.SIGINT, signal.SIGTERM)


class Stopped(BaseException):
    """A signal asked the run to end. Not an Exception: no handler of errors may swallow it."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number


@contextmanager
def stop_on_signals() -> Iterator[None]:
    """Raise `Stopped` at the first signal; a second one ends the program at once.

    The handlers are put back afterwards; in any thread but the main one nothing changes.
    """
    try:
        before = [(number, signal.signal(number, _stop)) for number in _STOPPING]
    except ValueError:  # not the main thread
        before = []
    try:
        yield
    finally:
        for number, handler in before:
            signal.signal(number, handler)


def _stop(number: int, _frame: FrameType | None) -> None:
    for stopping in _STOPPING:
        signal.signal(stopping, signal.SIG_DFL)
    raise Stopped(number)
