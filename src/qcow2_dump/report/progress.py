"""A bar on a terminal that says how far a check has come, how fast, and how long it will take."""

from types import TracebackType
from typing import Never, Self, TextIO

from tqdm import tqdm

from qcow2_dump.events import Progress
from qcow2_dump.report.escape import printable

__all__ = ["ProgressBar"]

# Below this a bar would only flicker.
_DELAY_SECONDS = 0.5


class ProgressBar:
    """Shows the `Progress` of one image at a time on a terminal; cleared at the end.

    A context manager. Imports tqdm, so a caller without a terminal does not import this module.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._bar: tqdm[Never] | None = None
        self._name = ""
        self._stage = ""

    def start(self, name: str) -> None:
        """Begin with an image."""
        self.clear()
        self._name, self._stage = printable(name, 40), ""

    def show(self, progress: Progress) -> None:
        """Move the bar to where the run is; each stage has its own, shown if it takes long."""
        if self._bar is None or progress.stage != self._stage:
            self.clear()
            self._stage = progress.stage
            self._bar = self._new_bar(progress)
        self._bar.update(max(0, progress.done - self._bar.n))

    def clear(self) -> None:
        """Remove the bar, so that what is printed next starts on a clean line."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def _new_bar(self, progress: Progress) -> "tqdm[Never]":
        return tqdm(
            desc=f"{self._name}, {progress.stage}",
            total=progress.total,
            unit="B",
            unit_scale=True,
            unit_divisor=1024,
            delay=_DELAY_SECONDS,
            dynamic_ncols=True,
            leave=False,
            file=self._stream,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.clear()
