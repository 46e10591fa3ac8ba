"""Check an image once, in this process, and print the processor time of each stage as JSON.

    python -m benchmarks.phases IMAGE

The stages are those of the check's progress; `start` is all before it (Python, numpy, modules,
opening the image and finding its tables), `triage` what follows the last of them.
"""

import json
import sys
import time

from qcow2_dump.checks.checker import Checker
from qcow2_dump.image.image import open_image

FIRST, LAST = "start", "triage"


def main() -> int:
    """Print a JSON object: seconds of user and system time by stage, in the order of stages."""
    seconds: dict[str, float] = {}
    with open_image(sys.argv[1]) as image:
        checker = Checker(image)
        before = seconds[FIRST] = time.process_time()
        for step in checker.run():
            now = time.process_time()
            # What passes until a stage says how far it has come belongs to that stage.
            seconds[step.stage] = seconds.get(step.stage, 0.0) + now - before
            before = now
        checker.result()
    seconds[LAST] = time.process_time() - before
    print(json.dumps(seconds))
    return 0


if __name__ == "__main__":
    sys.exit(main())
