"""Measure this program, the floor and `qemu-img check` side by side, and print the table.

    python -m benchmarks.run --size 64G
    python -m benchmarks.run --size 2T --case B --case E --dir /var/tmp/bench

Images are generated where they are missing. Programs take turns within each round, so that a
slow minute of the machine hits all of them. Targets that are missed are shown, not failed;
a wrong answer (an exit status or totals that do not fit the image) leaves its case without a
result, and the benchmark fails.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

from benchmarks.machine import describe
from benchmarks.measure import ProgramError, Run, measure
from benchmarks.programs import Program, output_of, programs_of
from benchmarks.results import CaseResult, markdown, plain, table, targets
from benchmarks.sizes import format_size, parse_size
from benchmarks.spec import CASES, ImageSpec, spec_of

_ROOT = Path(__file__).parent.parent


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark; returns the exit status (1 when a program did not do its work)."""
    options = _parser().parse_args(arguments)
    cases = options.case or list(CASES)
    results: list[CaseResult] = []
    with _directory(options.dir) as directory:
        for case in cases:
            try:
                results.append(_run_case(case, directory, options))
            except (ProgramError, OSError, subprocess.SubprocessError) as error:
                print(f"benchmark: case {case} has no result: {error}", file=sys.stderr)
    if results:
        _report(results, options)
    return 0 if len(results) == len(cases) else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.run",
        description="Measure qcow2-dump, the floor and qemu-img check side by side.",
    )
    add = parser.add_argument
    add("--case", action="append", choices=CASES, help="only this case (repeatable)")
    add("--only", action="append", metavar="NAME", help="only this program (repeatable)")
    add("--size", type=parse_size, default="64G", help="virtual size of A to E (default 64G)")
    add("--runs", type=int, default=5, help="rounds (default 5)")
    add("--limit", type=float, default=120, help="stop qemu-img after seconds (default 120)")
    add("--dir", type=Path, help="keep the images here (default: a temporary directory)")
    add(
        "--results",
        type=Path,
        default=Path("build/benchmarks"),
        help="where results.md and results.json go (default build/benchmarks)",
    )
    return parser


@contextmanager
def _directory(kept: Path | None) -> Iterator[Path]:
    if kept is not None:
        kept.mkdir(parents=True, exist_ok=True)
        yield kept
        return
    with tempfile.TemporaryDirectory(prefix="qcow2-bench-") as name:
        yield Path(name)


def _run_case(case: str, directory: Path, options: argparse.Namespace) -> CaseResult:
    spec = spec_of(case, options.size)
    print(f"{case}: {CASES[case]}, {format_size(spec.size)}", file=sys.stderr)
    image = _image(case, spec, directory)
    with tempfile.TemporaryDirectory(prefix="qcow2-bench-out-") as name:
        scratch = Path(name)
        programs = [
            program
            for program in programs_of(case, image, scratch)
            if not options.only or program.name in options.only
        ]
        return _rounds(CaseResult(case, spec.size), programs, spec, scratch, options)


def _image(case: str, spec: ImageSpec, directory: Path) -> Path:
    """The image of a case, generated unless the directory already holds that very one."""
    image = directory / f"case-{case}.qcow2"
    label = image.with_suffix(".json")
    wanted = json.dumps(asdict(spec) | {"order": spec.order.value})
    if not (image.exists() and label.exists() and label.read_text("utf-8") == wanted):
        label.unlink(missing_ok=True)
        # In a process of its own, so that numpy does not count as this one's memory.
        generate = [sys.executable, "-m", "benchmarks.generate", "--case", case]
        subprocess.run([*generate, "--size", str(spec.size), image], check=True, cwd=_ROOT)
        label.write_text(wanted, "utf-8")
    return image


def _rounds(
    result: CaseResult,
    programs: Sequence[Program],
    spec: ImageSpec,
    scratch: Path,
    options: argparse.Namespace,
) -> CaseResult:
    for current in range(options.runs):
        for program in programs:
            runs = result.runs.setdefault(program.name, [])
            if runs and runs[-1].stopped:
                continue
            run = _once(program, spec, scratch, options.limit)
            runs.append(run)
            if run.stopped:
                print(f"  {program.name}: stopped after {run.wall:.0f} s", file=sys.stderr)
        print(f"  round {current + 1} of {options.runs}", file=sys.stderr)
    return result


def _once(program: Program, spec: ImageSpec, scratch: Path, limit: float) -> Run:
    output = output_of(scratch, program)
    allowed = limit if program.limited else None
    run = measure(program.command, output, program.statuses, allowed)
    if program.prints_totals:
        _verify(program, output, spec)
    return run


def _verify(program: Program, output: Path, spec: ImageSpec) -> None:
    """A quick wrong answer is no result: compare the totals with what was planted."""
    try:
        totals = json.loads(output.read_bytes())["totals"]
        found = totals["corruptions"], totals["leaks"]
    except (ValueError, KeyError, TypeError) as error:
        raise ProgramError(f"{program.name}: no totals in its output ({error!r})") from error
    if found != (spec.errors, spec.leaks):
        raise ProgramError(
            f"{program.name}: found {found[0]} corruptions and {found[1]} leaks,"
            f" planted were {spec.errors} and {spec.leaks}"
        )


def _report(results: Sequence[CaseResult], options: argparse.Namespace) -> None:
    machine = describe()
    print(", ".join(f"{name} {value}" for name, value in machine.items()), end="\n\n")
    print(plain(table(results)))
    judged = targets(results)
    if len(judged) > 1:
        print(f"\n{plain(judged)}")
    options.results.mkdir(parents=True, exist_ok=True)
    document = {
        "machine": machine,
        "runs": options.runs,
        "cases": [asdict(result) for result in results],
        "targets": [dict(zip(judged[0], row, strict=True)) for row in judged[1:]],
    }
    text = markdown(results, machine, options.runs)
    (options.results / "results.md").write_text(text, "utf-8")
    (options.results / "results.json").write_text(json.dumps(document, indent=2) + "\n", "utf-8")


if __name__ == "__main__":
    sys.exit(main())
