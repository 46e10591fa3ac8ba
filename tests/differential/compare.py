"""Print every case on which qemu-img and we differ: `python -m tests.differential.compare`.

`--full` takes all cases, `--only TEXT` those whose name contains it, `--keep FOLDER` leaves the
images that differ there.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.corpus.cases import Case, all_cases, fixed_cases, materialize
from tests.differential import judge


def _judged(case: Case, folder: Path, keep: bool) -> list[str]:
    path = materialize(case, folder)
    try:
        found = judge.of_case(case, path)
    except (AssertionError, LookupError, ValueError, subprocess.TimeoutExpired) as error:
        found = [f"{type(error).__name__}: {error}"]
    if not (found and keep):
        shutil.rmtree(path.parent)
    return found


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def main() -> None:
    """Compare, print the differing cases, then the share that agrees and the time."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--full", action="store_true")
    parser.add_argument("--only", default="", metavar="TEXT")
    parser.add_argument("--keep", type=Path, metavar="FOLDER")
    options = parser.parse_args()
    cases = [c for c in (all_cases() if options.full else fixed_cases()) if options.only in c.name]
    started = time.perf_counter()
    folder = options.keep or Path(tempfile.mkdtemp(prefix="qcow2-compare-"))
    differing: Counter[str] = Counter()
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        answers = pool.map(lambda case: _judged(case, folder, options.keep is not None), cases)
        for case, found in zip(cases, answers, strict=True):
            if found:
                differing[case.damage.name] += 1
                _say("\n    ".join((case.name, *found)))
    if options.keep is None:
        shutil.rmtree(folder)
    equal = len(cases) - differing.total()
    share = 100 * equal / max(1, len(cases))
    seconds = time.perf_counter() - started
    _say(f"{equal} of {len(cases)} equal ({share:.2f} %) in {seconds:.0f} s")
    _say("".join(f"    {damage}: {count}\n" for damage, count in differing.most_common()))


if __name__ == "__main__":
    main()
