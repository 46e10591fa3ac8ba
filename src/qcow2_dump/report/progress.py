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
        self._bar = tqdm(
            desc=self._name,
            unit="B",
            unit_scale=True,
            unit_divisor=1024,
            delay=_DELAY_SECONDS,
            dynamic_ncols=True,
            leave=False,
            file=self._stream,
        )

    def show(self, progress: Progress) -> None:
        """Move the bar to where the run is."""
        bar = self._bar
        if bar is None:
            return
        if progress.stage != self._stage:
            self._stage = progress.stage
            bar.set_description_str(f"{self._name}, {progress.stage}", refresh=False)
            bar.reset(progress.total)
        bar.total = progress.total
        bar.update(max(0, progress.done - bar.n))

    def clear(self) -> None:
        """Remove the bar, so that what is printed next starts on a clean line."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.clear()
