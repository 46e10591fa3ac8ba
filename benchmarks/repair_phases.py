"""Repair an image once, in this process, and print the seconds of each stage as JSON.

    python -m benchmarks.repair_phases IMAGE

Changes the image, and leaves an undo file beside it. `start` is all before the check (Python,
numpy, modules, opening the image and locking it); before the first byte is written, the plan is
compared with the image once more, which belongs to `undo file`.
"""

import json
import sys
import time
from collections.abc import Callable

BEGUN = time.perf_counter() - time.process_time()


class _Clock:
    """Seconds on the clock by stage: all that passes until a stage is ended belongs to it."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._before = BEGUN

    def end(self, stage: str) -> None:
        """Count what has passed since the last call."""
        now = time.perf_counter()
        self.seconds[stage] = self.seconds.get(stage, 0.0) + now - self._before
        self._before = now

    def told(self, first: str, then: str) -> Callable[..., None]:
        """A callback whose first call ends one stage, and whose others end another."""
        calls = iter([first])
        return lambda *_: self.end(next(calls, then))


def main() -> int:
    """Print a JSON object: seconds by stage, in the order of stages."""
    from qcow2_dump.operations.applying import ChangeRun
    from qcow2_dump.operations.write_requests import RepairRequest, WriteOptions

    clock = _Clock()
    request = RepairRequest(image=sys.argv[1], everything=True, options=WriteOptions(yes=True))
    with ChangeRun(request, tick=clock.told("start", "check")) as run:
        clock.end("planning")
        run.apply(progress=clock.told("undo file", "writing"))
        clock.end("writing")
        run.verify(tick=clock.told("reading back", "checking again"))
        # A large image of which only refcounts and flags changed is not walked once more.
        clock.end("checking again" if "reading back" in clock.seconds else "reading back")
    print(json.dumps(clock.seconds))
    return 0


if __name__ == "__main__":
    sys.exit(main())
