"""Measure this program, the floor and `qemu-img check` side by side, and print the table.

    python -m benchmarks.run --size 64G
    python -m benchmarks.run --size 2T --case B --case E --dir /var/tmp/bench
    python -m benchmarks.run --size 2T --curve --document docs/performance.md

Images are generated where they are missing. Programs take turns within each round, so that a
slow minute of the machine hits all of them. Targets that are missed are shown, not failed;
a wrong answer (an exit status or totals that do not fit the image) leaves its case without a
result, and the benchmark fails.
"""

import argparse
import compileall
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import NamedTuple

from benchmarks.answers import verify
from benchmarks.machine import describe
from benchmarks.measure import ProgramError, Run, empty_cache, measure
from benchmarks.options import parse_options
from benchmarks.programs import (
    CHECK_CASES,
    REPAIR_CASE,
    SIZED_CASES,
    Program,
    curve_programs,
    output_of,
    programs_of,
)
from benchmarks.results import (
    CaseResult,
    curve_table,
    markdown,
    phase_table,
    plain,
    table,
    targets,
)
from benchmarks.sizes import format_size
from benchmarks.spec import CASES, CURVE, ImageSpec, curve_up_to, image_of, spec_of

_ROOT = Path(__file__).parent.parent


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark; returns the exit status (1 when a program did not do its work)."""
    options = parse_options(arguments)
    curve = list(curve_up_to(options.size)) if options.curve or options.everything else []
    cases = options.case or (list(CASES) if options.everything else [])
    results: list[CaseResult] = []
    points: list[CaseResult] = []
    compile_package()
    status = 0
    try:
        with _directory(options.dir) as directory:
            for kind, names, found in ((_run_case, cases, results), (_run_point, curve, points)):
                for name in names:
                    try:
                        found.append(kind(name, directory, options))
                    except (ProgramError, OSError, subprocess.SubprocessError) as error:
                        print(f"benchmark: case {name} has no result: {error}", file=sys.stderr)
                        status = 1
    except KeyboardInterrupt:
        print("benchmark: interrupted; what was measured until now:", file=sys.stderr)
        options.document, status = None, 130
    if not any(result.runs for result in (*results, *points)) and not options.again:
        print("benchmark: nothing was measured", file=sys.stderr)
        return status or 1
    try:
        _report(*_with_earlier(results, points, options), options)
    except (OSError, ValueError) as error:
        print(f"benchmark: {error}", file=sys.stderr)
        return 1
    return status


def compile_package() -> None:
    """Leave bytecode beside the modules of the program, as installing it does.

    In a checkout whose Python is told to write none, each run would compile every module anew.
    """
    found = find_spec("qcow2_dump")
    for folder in (found and found.submodule_search_locations) or ():
        compileall.compile_dir(folder, quiet=2)


@contextmanager
def _directory(kept: Path | None) -> Iterator[Path]:
    if kept is not None:
        kept.mkdir(parents=True, exist_ok=True)
        yield kept
        return
    with tempfile.TemporaryDirectory(prefix="qcow2-bench-") as name:
        yield Path(name)


class _Images(NamedTuple):
    """The image that is measured, what it is made of, and where outputs and copies go."""

    path: Path
    spec: ImageSpec
    scratch: Path


def _run_case(case: str, directory: Path, options: argparse.Namespace) -> CaseResult:
    spec = spec_of(case, options.size)
    print(f"{case}: {CASES[case]}, {format_size(spec.size)}", file=sys.stderr)
    image = _image(f"case-{image_of(case)}", spec, directory)
    # Beside the images: what a repair writes must not end up on another file system.
    with tempfile.TemporaryDirectory(prefix="qcow2-bench-out-", dir=directory) as name:
        scratch = Path(name)
        programs = [
            program
            for program in programs_of(case, image, scratch)
            if (not options.only or program.name in options.only) and _is_there(program)
        ]
        images = _Images(image, spec, scratch)
        result = _rounds(CaseResult(case, spec.size), programs, images, options)
        if case in (*CHECK_CASES, REPAIR_CASE) and not options.only:
            result.phases.update(_phases(case, images, options.runs))
        return result


def _is_there(program: Program) -> bool:
    if shutil.which(program.command[0]) is not None:
        return True
    print(f"  {program.name}: {program.command[0]} is not there, left out", file=sys.stderr)
    return False


def _phases(case: str, images: _Images, rounds: int) -> dict[str, float]:
    """The median time of each stage of a check, or of a repair, in seconds."""
    # As the program itself has it: no threads that it does not need.
    environment = os.environ | {"OPENBLAS_NUM_THREADS": "1"}
    runs = []
    for _ in range(rounds):
        module, image = "benchmarks.phases", images.path
        if case == REPAIR_CASE:
            module, image = "benchmarks.repair_phases", images.scratch / "stages.qcow2"
            _copy(images, image)
        command = [sys.executable, "-m", module, str(image)]
        stages = subprocess.run(command, check=True, capture_output=True, env=environment).stdout
        runs.append(json.loads(stages))
    return {stage: median(run[stage] for run in runs) for stage in runs[0]}


def _run_point(name: str, directory: Path, options: argparse.Namespace) -> CaseResult:
    spec = CURVE[name]
    print(f"curve: {name}", file=sys.stderr)
    with tempfile.TemporaryDirectory(prefix="qcow2-bench-curve-", dir=directory) as scratch:
        image = _image("curve", spec, Path(scratch))
        images = _Images(image, spec, Path(scratch))
        programs = [
            program
            for program in curve_programs(image)
            if not options.only or program.name in options.only
        ]
        return _rounds(CaseResult(name, spec.virtual_size), programs, images, options)


def _image(stem: str, spec: ImageSpec, directory: Path) -> Path:
    """An image, generated unless the directory already holds that very one."""
    image = directory / f"{stem}.qcow2"
    label = image.with_suffix(".json")
    wanted = json.dumps(asdict(spec) | {"order": spec.order.value})
    if not (image.exists() and label.exists() and label.read_text("utf-8") == wanted):
        label.unlink(missing_ok=True)
        # In a process of its own, so that numpy does not count as this one's memory.
        generate = [sys.executable, "-m", "benchmarks.generate", "--spec", wanted, str(image)]
        subprocess.run(generate, check=True, cwd=_ROOT)
        label.write_text(wanted, "utf-8")
    return image


def _rounds(
    result: CaseResult, programs: Sequence[Program], images: _Images, options: argparse.Namespace
) -> CaseResult:
    for current in range(options.runs):
        for program in programs:
            runs = result.runs.setdefault(program.name, [])
            if runs and (runs[-1].stopped or _is_too_slow(program, runs[-1], options.limit)):
                continue
            run = _once(program, images, options.limit)
            runs.append(run)
            if run.stopped:
                print(f"  {program.name}: stopped after {run.wall:.0f} s", file=sys.stderr)
        print(f"  round {current + 1} of {options.runs}", file=sys.stderr)
    return result


def _is_too_slow(program: Program, run: Run, limit: float) -> bool:
    """Whether one run is enough: nobody waits an hour for the sake of a median."""
    return program.limited and run.wall > limit / 6


def _once(program: Program, images: _Images, limit: float) -> Run:
    output = output_of(images.scratch, program)
    if program.changes is not None:
        _copy(images, program.changes)
    # What earlier programs left to be written is no work of this one.
    os.sync()
    if program.cold:
        empty_cache(images.path)
    allowed = limit if program.limited else None
    run = measure(program.command, output, program.statuses, allowed)
    if not run.stopped:
        verify(program, output, images.spec)
    return replace(run, page=program.page.stat().st_size) if program.page is not None else run


def _copy(images: _Images, path: Path) -> None:
    """Make a copy that may be changed, in place of an earlier one and of its undo files."""
    for old in images.scratch.glob(f"{path.name}*"):
        old.unlink()
    copy = ["cp", "--sparse=always", "--reflink=auto", str(images.path), str(path)]
    subprocess.run(copy, check=True)
    os.sync()


def _with_earlier(
    results: list[CaseResult], curve: list[CaseResult], options: argparse.Namespace
) -> tuple[list[CaseResult], list[CaseResult], dict[str, str]]:
    """The results of an earlier run, if one is to be reported, with those of this one in them.

    Raises ValueError where both are not of one machine, one size and one number of rounds.
    """
    machine = describe()
    if options.again is None:
        return results, curve, machine
    document = json.loads(options.again.read_text("utf-8"))
    sizes = {case["size"] for case in document["cases"] if case["case"] in SIZED_CASES}
    sizes |= {result.size for result in results if result.case in SIZED_CASES}
    fresh_runs = bool(results or curve) and options.runs != document["runs"]
    if len(sizes) > 1 or fresh_runs or ((results or curve) and machine != document["machine"]):
        raise ValueError(f"{options.again} is of another size, number of rounds or machine")
    options.runs = document["runs"]
    merged = []
    for kind, fresh in (("cases", results), ("curve", curve)):
        found = {
            case["case"]: CaseResult(
                case["case"],
                case["size"],
                {name: [Run(**run) for run in runs] for name, runs in case["runs"].items()},
                case["phases"],
            )
            for case in document[kind]
        }
        merged.append(list((found | {result.case: result for result in fresh}).values()))
    return merged[0], merged[1], document["machine"]


def _report(
    results: Sequence[CaseResult],
    curve: Sequence[CaseResult],
    machine: Mapping[str, str],
    options: argparse.Namespace,
) -> None:
    print(", ".join(f"{name} {value}" for name, value in machine.items()))
    judged = targets(results)
    stages = phase_table(results, CHECK_CASES), phase_table(results, (REPAIR_CASE,))
    for rows in (table(results), judged, *stages, curve_table(curve)):
        if len(rows) > 1:
            print(f"\n{plain(rows)}")
    document = {
        "machine": machine,
        "runs": options.runs,
        "cases": [asdict(result) for result in results],
        "curve": [asdict(result) for result in curve],
        "targets": [dict(zip(judged[0], row, strict=True)) for row in judged[1:]],
    }
    text = markdown(results, curve, machine, options.runs)
    for path in (options.results / "results.md", options.document):
        if path is not None:
            _replace(path, text)
    _replace(options.results / "results.json", json.dumps(document, indent=2) + "\n")


def _replace(path: Path, text: str) -> None:
    """Write a file whole or not at all."""
    fresh = path.with_name(f"{path.name}.new")
    try:
        fresh.write_text(text, "utf-8")
        fresh.replace(path)
    finally:
        fresh.unlink(missing_ok=True)


if __name__ == "__main__":
    sys.exit(main())
