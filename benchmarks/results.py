"""What was measured, as a table for the terminal, Markdown and JSON."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median

from benchmarks.measure import Run
from benchmarks.programs import (
    CHECK_CASES,
    FLOOR,
    MEMORY_TARGET,
    OURS,
    OURS_SMALL,
    PAGE_CASES,
    PAGE_TARGET,
    REPAIR_CASE,
    REPORT,
    SIZED_CASES,
    TARGETS,
    Target,
)
from benchmarks.sizes import format_size
from benchmarks.spec import CASES, CURVE, FULL_SIZE

Row = tuple[str, ...]
_HEADINGS = (
    "case",
    "program",
    "runs",
    "wall s",
    "CPU s",
    "peak MB",
    "times the first",
    "reads",
    "MB read",
)
_CURVE_HEADINGS = (
    "disk",
    "million clusters",
    "wall s",
    "CPU s",
    "peak MB",
    "floor, wall s",
    f"{OURS_SMALL}: wall s",
    "peak MB",
)
_TARGET_HEADINGS = ("case", "target", "CPU", "wall", "met")

_INTRODUCTION = """\
# Speed and memory

Written by the benchmark (`make bench-full`), never by hand. Ratios hold within one run of it;
seconds depend on the machine and on what else it does. *floor* is a program that reads every table
and refcount block once and does nothing else; *write twice* writes as many bytes as these are,
twice, and syncs them each time."""

_CASE_WORDS = """\
## Cases

Medians of {rounds} interleaved runs (of fewer where the table says so: a program that takes minutes
runs once), process start included; modules are compiled, as they are once
the program is installed; images in the page cache. Peak memory is the highest of all runs; below
some 20 MB it is the runner's own. Reads are all calls that read, those that load the program among
them."""

_TARGET_WORDS = """\
## Targets

Judged by the time on the clock, which is what somebody waits for. On a machine that does other work
meanwhile, processor time says more."""

_PHASE_WORDS = """\
## Where the time of a check goes

Milliseconds of processor time of each stage. *start* is Python, numpy, our modules and the roots
of the image; *refcounts* reads the stored refcounts, *tables* walks the L2 tables, *comparing*
compares the stored with the counted refcounts, *owners* walks the tables again to name the owners
of clusters with findings, *triage* judges the leaks."""

_REPAIR_WORDS = """\
## Where the time of a repair goes

Milliseconds on the clock. *start* is as above, with opening and locking the image; *check* finds
what is to be mended; *planning* works out refcounts and COPIED flags; *undo file* writes down
what changes, syncs, and compares the image with the plan once more; *writing* changes the image and
syncs; *reading back* compares what is then on the disk with the plan, and all refcounts with the
references that the check counted; *checking again*, where more is to be looked at, is a whole check
of the image as it now is."""

_CURVE_WORDS = f"""\
## As disks grow

Every guest cluster is mapped, in shuffled runs of 64, but where it says otherwise; clusters have
64 KiB. Memory is a byte for each host cluster, some bits, some 200 bytes for each L2 table, and
what Python and numpy take. Where a budget is smaller, the tables are walked once for each window of
clusters that fits (`{OURS_SMALL}`). What L2 tables take does not become less by that, which shows
with clusters of 512 bytes, where a table maps 64."""


@dataclass(frozen=True, slots=True)
class CaseResult:
    """The runs of every program of one case, by the program's name, in the order of rounds."""

    case: str
    size: int
    """Virtual size in bytes."""
    runs: dict[str, list[Run]] = field(default_factory=dict)
    phases: dict[str, float] = field(default_factory=dict)
    """Median seconds of each stage: of processor time for a check, on the clock for a repair."""

    def wall(self, program: str) -> float | None:
        """Median seconds on the clock; None when the program did not run or was stopped."""
        runs = self.runs.get(program)
        if not runs or runs[-1].stopped:
            return None
        return median(run.wall for run in runs)

    def cpu(self, program: str) -> float | None:
        """Median seconds of user and system time; None as for `wall`."""
        runs = self.runs.get(program)
        if not runs or runs[-1].stopped:
            return None
        return median(run.cpu for run in runs)

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
                stopped = f"over {runs[-1].wall:.0f}, stopped"
                rows.append((result.case, program, str(len(runs)), stopped, *[""] * 5))
                continue
            cpu = result.cpu(program) or 0.0
            peak = f"{result.peak(program) / 1e6:.0f}"
            times = f"{wall / first:.3g}" if first else ""
            reads = f"{median(run.reads for run in runs):.0f}"
            size = f"{median(run.bytes_read for run in runs) / 1e6:.0f}"
            seconds = str(len(runs)), f"{wall:.3f}", f"{cpu:.3f}"
            rows.append((result.case, program, *seconds, peak, times, reads, size))
    return rows


def phase_table(results: Iterable[CaseResult], cases: Collection[str]) -> list[Row]:
    """One row for each of some cases, of one kind, whose stages were measured."""
    timed = [result for result in results if result.phases and result.case in cases]
    # A stage that only some checks have stands where these have it.
    longest = max(timed, key=lambda result: len(result.phases), default=CaseResult("", 0))
    stages = list(longest.phases)
    rows = [(r.case, *(_milliseconds(r.phases.get(name)) for name in stages)) for r in timed]
    return [("case", *stages), *rows]


def _milliseconds(seconds: float | None) -> str:
    return "" if seconds is None else f"{seconds * 1000:.0f}"


def curve_table(results: Iterable[CaseResult]) -> list[Row]:
    """One row per disk: how time and memory grow."""
    rows: list[Row] = [_CURVE_HEADINGS]
    for result in results:
        clusters = f"{CURVE[result.case].data_clusters / 1e6:.2f}"
        cpu = result.cpu(OURS) or 0.0
        cells = [_seconds(result.wall(OURS)), f"{cpu:.2f}", f"{result.peak(OURS) / 1e6:.0f}"]
        cells += [_seconds(result.wall(FLOOR)), _seconds(result.wall(OURS_SMALL))]
        rows.append((result.case, clusters, *cells, f"{result.peak(OURS_SMALL) / 1e6:.0f}"))
    return rows


def _seconds(wall: float | None) -> str:
    return "" if wall is None else f"{wall:.2f}"


def targets(results: Sequence[CaseResult]) -> list[Row]:
    """One row per target that these results can judge."""
    by_case = {result.case: result for result in results}
    rows: list[Row] = [_TARGET_HEADINGS]
    for target in TARGETS:
        result, peer = by_case.get(target.case), by_case.get(target.peer_case or target.case)
        if result is None or peer is None or not _stated_for(result):
            continue
        cpu = _ratio(target, result.cpu, peer.cpu)
        wall = _ratio(target, result.wall, peer.wall)
        if cpu is not None and wall is not None:
            met = _yes(wall <= target.factor)
            rows.append((target.case, str(target), f"{cpu:.3g}x", f"{wall:.3g}x", met))
    for result in results:
        if result.case in CHECK_CASES and _stated_for(result) and OURS in result.runs:
            peak = result.peak(OURS)
            limit = f"{OURS}: peak of at most {MEMORY_TARGET / 1e6:.0f} MB"
            met = _yes(peak <= MEMORY_TARGET)
            rows.append((result.case, limit, f"{peak / 1e6:.0f} MB", "", met))
        if result.case in PAGE_CASES and _stated_for(result) and REPORT in result.runs:
            size = max(run.page for run in result.runs[REPORT])
            limit = f"{REPORT}: page of at most {PAGE_TARGET / 1e6:.0f} MB"
            rows.append((result.case, limit, f"{size / 1e6:.2f} MB", "", _yes(size <= PAGE_TARGET)))
    return rows


def _ratio(
    target: Target, ours: Callable[[str], float | None], theirs: Callable[[str], float | None]
) -> float | None:
    """How many times as long a program takes as its peer; None where one has no result."""
    time, other = ours(target.program), theirs(target.peer)
    if time is None or other is None:
        return None
    allowed = ours(target.plus) if target.plus else 0
    return (time - (allowed or 0)) / other


def _stated_for(result: CaseResult) -> bool:
    """Whether the targets of the case are about a disk of this size."""
    return result.case not in SIZED_CASES or result.size >= FULL_SIZE


def _yes(met: bool) -> str:
    return "yes" if met else "NO"


def plain(rows: Sequence[Row]) -> str:
    """Columns padded to their widest cell."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ("  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)) for row in rows)
    return "\n".join(line.rstrip() for line in lines)


def markdown(
    results: Sequence[CaseResult],
    curve: Sequence[CaseResult],
    machine: Mapping[str, str],
    rounds: int,
) -> str:
    """The whole report as a Markdown document."""
    parts = [_INTRODUCTION, _list(f"{name}: {value}" for name, value in machine.items())]
    if results:
        parts += [
            _CASE_WORDS.format(rounds=rounds),
            _list(f"{r.case} ({format_size(r.size)}): {CASES[r.case]}" for r in results),
            _markdown_table(table(results)),
        ]
    judged = targets(results)
    if len(judged) > 1:
        parts += [_TARGET_WORDS, _markdown_table(judged)]
    for words, of_kind in ((_PHASE_WORDS, CHECK_CASES), (_REPAIR_WORDS, (REPAIR_CASE,))):
        stages = phase_table(results, of_kind)
        if len(stages) > 1:
            parts += [words, _markdown_table(stages)]
    if curve:
        parts += [_CURVE_WORDS, _markdown_table(curve_table(curve))]
    return "\n\n".join(parts) + "\n"


def _list(items: Iterable[str]) -> str:
    return "\n".join(f"- {item}" for item in items)


def _markdown_table(rows: Sequence[Row]) -> str:
    ruled = [rows[0], ("---",) * len(rows[0]), *rows[1:]]
    return "\n".join(f"| {' | '.join(row)} |" for row in ruled)
