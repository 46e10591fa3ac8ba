"""What can be asked of the benchmark, checked before anything is measured."""

import argparse
import math
from collections.abc import Sequence
from pathlib import Path

from benchmarks.programs import PROGRAM_NAMES
from benchmarks.sizes import parse_size
from benchmarks.spec import CASES

# One cluster per L2 table at least, and no more than a sparse file of ext4 can hold.
_SIZES = 1 << 20, 8 << 40


def parse_options(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The options of a command line, by default that of the process; exits where they are wrong."""
    parser = _parser()
    options = parser.parse_args(arguments)
    options.case = list(dict.fromkeys(options.case or ()))
    everything = not (options.case or options.curve or options.again)
    if options.document and not (everything or options.again):
        parser.error("--document is for a whole run, or for an earlier one with --again")
    if options.document and options.only:
        parser.error("--document is for all programs: not with --only")
    if options.again and options.only:
        parser.error("--again replaces whole cases: not with --only")
    options.everything = everything
    for folder in {options.results, options.document.parent if options.document else Path()}:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            parser.error(f"cannot write to {folder}: {error.strerror}")
    return options


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.run",
        description="Measure qcow2-dump, the floor and qemu-img check side by side.",
    )
    add = parser.add_argument
    add("--case", action="append", choices=CASES, help="only this case (repeatable)")
    add("--curve", action="store_true", help="only how time and memory grow, and the cases named")
    add(
        "--only",
        action="append",
        choices=PROGRAM_NAMES,
        metavar="NAME",
        help=f"only this program (repeatable): {', '.join(PROGRAM_NAMES)}",
    )
    add("--size", type=_size, default="64G", help="virtual size of A to E (default 64G)")
    add("--runs", type=_runs, default=5, help="rounds (default 5)")
    add("--limit", type=_limit, default=120, help="stop qemu-img after seconds (default 120)")
    add("--dir", type=Path, help="keep the images here (default: a temporary directory)")
    add(
        "--results",
        type=Path,
        default=Path("build/benchmarks"),
        help="where results.md and results.json go (default build/benchmarks)",
    )
    add(
        "--again",
        type=Path,
        metavar="JSON",
        help="report an earlier run, with what is measured now",
    )
    add("--document", type=Path, help="write the report, as Markdown, here as well")
    return parser


def _size(text: str) -> int:
    size = parse_size(text)
    if not _SIZES[0] <= size <= _SIZES[1] or size % (1 << 16):
        raise argparse.ArgumentTypeError(f"not 1M to 8T in whole clusters of 64K: {text!r}")
    return size


def _runs(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not int(text):
        raise argparse.ArgumentTypeError(f"not a number of rounds: {text!r}")
    return int(text)


def _limit(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 < seconds < math.inf:
        raise argparse.ArgumentTypeError(f"not a number of seconds: {text!r}")
    return seconds
