"""Signals wait until the image can be left alone."""

import signal
import threading
from types import FrameType, TracebackType
from typing import Any, Self

__all__ = ["SignalGate"]

_WAITING = (signal.SIGINT, signal.SIGTERM)


class _SignalCame(KeyboardInterrupt):
    """A signal came while the image was being written."""


class SignalGate:
    """Within it SIGINT and SIGTERM only take effect where `check` is called.

    Whoever leaves it because of a signal has that signal delivered then, to the handler that was
    there before. A signal that came when there was nothing left to stop is dropped, as the change
    is complete. In any thread but the main one nothing changes.
    """

    def __init__(self) -> None:
        self._before: dict[signal.Signals, Any] = {}
        self._came: int | None = None

    def check(self) -> None:
        """Raise when a signal has come."""
        if self._came is not None:
            raise _SignalCame(signal.Signals(self._came).name)

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            for number in _WAITING:
                before = signal.getsignal(number)
                # None is a handler that Python cannot put back.
                if before is not None and before is not signal.SIG_IGN:
                    self._before[number] = before
                    signal.signal(number, self._note)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        if isinstance(error, _SignalCame) and self._came is not None:
            signal.raise_signal(self._came)

    def _note(self, number: int, _frame: FrameType | None) -> None:
        if self._came is None:
            self._came = number
