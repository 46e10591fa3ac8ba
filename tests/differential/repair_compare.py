"""Repair damaged images with qemu-img and with ours, and print the share of the guest's disk kept.

    python -m tests.differential.repair_compare [--full] [--only TEXT] [--keep FOLDER]

`--full` takes all cases, `--only TEXT` those whose name contains it, `--keep FOLDER` leaves the
damaged images with complaints there. The table has a row for each kind of damage: cases, how many
qemu-img and ours mend, how much of the guest's disk can be read as it was, and how many of its
clusters are still in the file and not free, in percent: as damaged, after qemu-img, after ours.
The last column counts the cases with complaints.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
import traceback
from collections import defaultdict
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

from tests.corpus.cases import all_cases, fixed_cases, materialize, path_of
from tests.differential.repair_case import examine
from tests.differential.repair_judge import Outcome, complaints

HEADS = (
    f"{'':<24}{'':>6}{'mended':>12}{'readable %':>24}{'in the file %':>24}",
    f"{'damage':<24}{'cases':>6}{'qemu':>6}{'ours':>6}"
    + 2 * f"{'damaged':>8}{'qemu':>8}{'ours':>8}"
    + "  bad",
)


def _judged(number: int, folder: Path) -> tuple[Outcome | None, list[str]]:
    """Examine a case by its number: a case itself cannot be sent to another process."""
    try:
        outcome = examine(all_cases()[number], folder)
    except Exception:  # noqa: BLE001 - the harness goes on with the other cases
        return None, [traceback.format_exc(limit=-3)]
    return outcome, complaints(outcome)


def table(judged: Iterable[tuple[Outcome, bool]]) -> list[str]:
    """The rows for these outcomes, each with whether there are complaints about it."""
    by_damage = defaultdict(list)
    for outcome, bad in judged:
        by_damage[outcome.damage].append((outcome, bad))
    rows = [_row(damage, found) for damage, found in sorted(by_damage.items())]
    every = [one for found in by_damage.values() for one in found]
    return [*HEADS, *rows, _row("all", every)]


def _row(name: str, found: list[tuple[Outcome, bool]]) -> str:
    outcomes = [outcome for outcome, _ in found]
    mended = (sum(o.theirs.mended for o in outcomes), sum(o.ours.mended for o in outcomes))
    columns = [[getattr(o, which) for o in outcomes] for which in ("damaged", "theirs", "ours")]
    shares = [_mean([state.share.percent for state in column]) for column in columns]
    shares += [_mean([state.safe_percent for state in column]) for column in columns]
    bad = sum(bad for _, bad in found)
    numbers = "".join(f"{number:>8.2f}" for number in shares)
    return f"{name:<24}{len(found):>6}{mended[0]:>6}{mended[1]:>6}{numbers}{bad or '':>5}"


def _mean(numbers: list[float]) -> float:
    """The mean over the images, as a small one matters as much to its owner."""
    return sum(numbers) / max(1, len(numbers))


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def main() -> int:
    """Repair, print what is wrong with which case, then the table and the time."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--full", action="store_true")
    parser.add_argument("--only", default="", metavar="TEXT")
    parser.add_argument("--keep", type=Path, metavar="FOLDER")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), metavar="N")
    options = parser.parse_args()
    cases = [c for c in (all_cases() if options.full else fixed_cases()) if options.only in c.name]
    started = time.perf_counter()
    for case in cases:
        path_of(case.base)  # made here, so that every process finds them
    judged: list[tuple[Outcome, bool]] = []
    broken = 0
    with (
        tempfile.TemporaryDirectory(prefix="qcow2-repair-") as folder,
        ProcessPoolExecutor(options.jobs) as pool,
    ):
        numbers = [all_cases().index(case) for case in cases]
        answers = pool.map(partial(_judged, folder=Path(folder)), numbers)
        for case, (outcome, found) in zip(cases, answers, strict=True):
            if outcome is not None:
                judged.append((outcome, bool(found)))
            if found:
                broken += 1
                _say("\n    ".join((case.name, *found)))
                if options.keep is not None:
                    materialize(case, options.keep)
    _say("\n".join(table(judged)))
    seconds = time.perf_counter() - started
    _say(f"{len(cases) - broken} of {len(cases)} without complaint, in {seconds:.0f} s")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
