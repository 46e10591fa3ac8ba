"""What was measured, as a table for the terminal, Markdown and JSON."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median

from benchmarks.measure import Run
from benchmarks.programs import CHECK_CASES, MEMORY_TARGET, OURS, TARGETS
from benchmarks.sizes import format_size
from benchmarks.spec import CASES, FULL_SIZE

Row = tuple[str, ...]
_HEADINGS = ("case", "program", "wall s", "CPU s", "peak MB", "times the first")
_TARGET_HEADINGS = ("case", "target", "measured", "met")


@dataclass(frozen=True, slots=True)
class CaseResult:
    """The runs of every program of one case, by the program's name, in the order of rounds."""

    case: str
    size: int
    """Virtual size in bytes."""
    runs: dict[str, list[Run]] = field(default_factory=dict)

    def wall(self, program: str) -> float | None:
        """Median seconds on the clock; None when the program did not run or was stopped."""
        runs = self.runs.get(program)
        if not runs or runs[-1].stopped:
            return None
        return median(run.wall for run in runs)

    def peak(self, program: str) -> int:
        """The highest peak of memory of all runs, in bytes."""
        return max(run.peak for run in self.runs[program])


def table(results: Iterable[CaseResult]) -> list[Row]:
    """One row per case and program; times are medians, memory is the highest peak."""
    rows: list[Row] = [_HEADINGS]
    for result in results:
        first = result.wall(next(iter(result.runs), ""))
        for program, runs in result.runs.items():
            wall = result.wall(program)
            if wall is None:
                rows.append(
                    (result.case, program, f"over {runs[-1].wall:.0f}, stopped", "", "", "")
                )
                continue
            cpu = median(run.cpu for run in runs)
            peak = f"{result.peak(program) / 1e6:.0f}"
            times = f"{wall / first:.3g}" if first else ""
            rows.append((result.case, program, f"{wall:.3f}", f"{cpu:.3f}", peak, times))
    return rows


def targets(results: Sequence[CaseResult]) -> list[Row]:
    """One row per target that these results can judge."""
    by_case = {result.case: result for result in results}
    rows: list[Row] = [_TARGET_HEADINGS]
    for target in TARGETS:
        result, peer = by_case.get(target.case), by_case.get(target.peer_case or target.case)
        if result is None or peer is None or not _stated_for(result):
            continue
        wall, other = result.wall(target.program), peer.wall(target.peer)
        if wall is not None and other is not None:
            met = wall <= other * target.factor
            rows.append((target.case, str(target), f"{wall / other:.3g}x", _yes(met)))
    for result in results:
        if result.case in CHECK_CASES and _stated_for(result) and OURS in result.runs:
            peak = result.peak(OURS)
            limit = f"{OURS}: peak of at most {MEMORY_TARGET / 1e6:.0f} MB"
            rows.append((result.case, limit, f"{peak / 1e6:.0f} MB", _yes(peak <= MEMORY_TARGET)))
    return rows


def _stated_for(result: CaseResult) -> bool:
    """Whether the targets of the case are about a disk of this size."""
    return result.case not in CHECK_CASES or result.size >= FULL_SIZE


def _yes(met: bool) -> str:
    return "yes" if met else "NO"


def plain(rows: Sequence[Row]) -> str:
    """Columns padded to their widest cell."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ("  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)) for row in rows)
    return "\n".join(line.rstrip() for line in lines)


def markdown(results: Sequence[CaseResult], machine: Mapping[str, str], rounds: int) -> str:
    """The whole report as a Markdown document."""
    parts = ["# Benchmark", _list(f"{name}: {value}" for name, value in machine.items())]
    parts.append(
        f"Medians of {rounds} interleaved runs, process start included; images in the page"
        " cache. Peak memory is the highest of all runs; below some 20 MB it is the runner's own."
    )
    parts.append(_list(f"{r.case} ({format_size(r.size)}): {CASES[r.case]}" for r in results))
    parts.append(_markdown_table(table(results)))
    judged = targets(results)
    if len(judged) > 1:
        parts += ["## Targets", _markdown_table(judged)]
    return "\n\n".join(parts) + "\n"


def _list(items: Iterable[str]) -> str:
    return "\n".join(f"- {item}" for item in items)


def _markdown_table(rows: Sequence[Row]) -> str:
    ruled = [rows[0], ("---",) * len(rows[0]), *rows[1:]]
    return "\n".join(f"| {' | '.join(row)} |" for row in ruled)
