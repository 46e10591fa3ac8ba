"""The runner: what it measures, what it refuses, and what it prints."""

import json
import sys
from argparse import ArgumentTypeError
from importlib.util import cache_from_source
from pathlib import Path

import pytest

import qcow2_dump
from benchmarks import run as runner
from benchmarks.answers import verify
from benchmarks.measure import ProgramError, Run, measure
from benchmarks.programs import (
    CHECK_CASES,
    FLOOR,
    OURS,
    PEER,
    REPAIR_CASE,
    REPORT,
    Program,
    Totals,
)
from benchmarks.results import CaseResult, phase_table, plain, table, targets
from benchmarks.sizes import format_size, parse_size
from benchmarks.spec import FULL_SIZE, ImageSpec

ZERO = range(1)
PACKAGE = Path(qcow2_dump.__path__[0])


def python(source: str) -> list[str]:
    return [sys.executable, "-c", source]


def test_a_run_is_measured(tmp_path: Path) -> None:
    output = tmp_path / "out"
    source = "data = b'x' * 200_000_000; import time; time.sleep(0.1); print(len(data))"
    run = measure(python(source), output, ZERO)
    assert run.wall >= 0.1
    assert run.cpu > 0
    assert run.peak > 200_000_000
    assert not run.stopped
    assert output.read_text() == "200000000\n"


def test_a_slow_run_is_stopped(tmp_path: Path) -> None:
    run = measure(python("import time; time.sleep(60)"), tmp_path / "out", ZERO, limit=0.2)
    assert run.stopped
    assert run.wall < 30


def test_a_failing_program_says_what_it_said(tmp_path: Path) -> None:
    with pytest.raises(ProgramError, match=r"status 9\nno luck"):
        measure(
            python("import sys; print('no luck', file=sys.stderr); sys.exit(9)"),
            tmp_path / "out",
            range(9),
        )


def results(wall: float, peak: int = 80_000_000, size: int = FULL_SIZE) -> list[CaseResult]:
    """Case B with ours at `wall` seconds, and a peer that took 4 seconds."""
    ours = [Run(wall * factor, wall, peak) for factor in (1, 9, 0.5)]
    peer = [Run(4.0, 4.0, 74_000_000)] * 3
    return [CaseResult("B", size, {OURS: ours, PEER: peer})]


def test_the_table_shows_medians_and_ratios() -> None:
    rows = table(results(0.5))
    assert rows[1] == ("B", OURS, "3", "0.500", "0.500", "80", "1", "0", "0")
    assert rows[2] == ("B", PEER, "3", "4.000", "4.000", "74", "8", "0", "0")
    assert plain(rows).splitlines()[0].startswith("case  program")


def test_the_table_says_what_was_stopped() -> None:
    stopped = CaseResult("C", FULL_SIZE, {PEER: [Run(121.7, 121.0, 74, stopped=True)]})
    assert table([stopped])[1][:4] == ("C", PEER, "1", "over 122, stopped")


def test_targets_are_judged() -> None:
    fast, slow = targets(results(0.7)), targets(results(0.9, peak=120_000_000))
    assert [row[-1] for row in fast[1:]] == ["yes", "yes"]
    assert [row[-1] for row in slow[1:]] == ["NO", "NO"]


def test_targets_are_stated_for_the_full_size_only() -> None:
    assert len(targets(results(0.7, size=FULL_SIZE // 32))) == 1


@pytest.mark.parametrize(("size", "met"), [(2_900_000, "yes"), (3_100_000, "NO")])
def test_pages_are_held_to_their_size_and_to_twice_the_check(size: int, met: str) -> None:
    check = [Run(1.0, 1.0, 80_000_000)]
    made = CaseResult("E-page", FULL_SIZE, {OURS: check, REPORT: [Run(1.9, 1.9, 0, page=size)]})
    rows = targets([made])[1:]
    assert [row[0] for row in rows] == ["E-page", "E-page"]
    assert [row[-1] for row in rows] == ["yes", met]


def test_the_page_of_a_case_is_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmarks.run.describe", lambda: {"cores": "2"})
    arguments = ["--case", "D-damaged-page", "--size", "1G", "--runs", "1"]
    assert runner.main([*arguments, "--results", str(tmp_path)]) == 0
    (case,) = json.loads((tmp_path / "results.json").read_text())["cases"]
    assert list(case["runs"]) == [OURS, REPORT]
    assert case["runs"][REPORT][0]["page"] > 100_000


def test_a_whole_benchmark(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("benchmarks.run.describe", lambda: {"cores": "2"})
    kept, written = tmp_path / "images", tmp_path / "results"
    arguments = ["--case", "E", "--size", "1G", "--runs", "2", "--only", FLOOR, "--only", PEER]
    arguments += ["--dir", str(kept), "--results", str(written)]
    assert runner.main(arguments) == 0
    assert "qemu-img check" in capsys.readouterr().out
    document = json.loads((written / "results.json").read_text())
    assert [len(runs) for runs in document["cases"][0]["runs"].values()] == [2, 2]
    assert "| E | floor |" in (written / "results.md").read_text()
    page = tmp_path / "page.md"
    again = ["--again", str(written / "results.json"), "--results", str(tmp_path)]
    assert runner.main([*again, "--document", str(page)]) == 0
    assert page.read_text() == (written / "results.md").read_text()
    image = kept / "case-E.qcow2"
    before = image.stat().st_mtime_ns
    assert runner.main(arguments) == 0
    assert image.stat().st_mtime_ns == before, "the same image was generated twice"


def test_no_module_is_compiled_while_it_is_measured() -> None:
    runner.compile_package()
    modules = list(PACKAGE.rglob("*.py"))
    assert modules
    assert [path for path in modules if not Path(cache_from_source(str(path))).exists()] == []


@pytest.mark.parametrize(
    ("printed", "message"),
    [
        ('{"totals": {"corruptions": 1, "leaks": 0}}', "found 1 corruptions"),
        ("Traceback", "no totals"),
    ],
)
def test_a_wrong_answer_leaves_no_result(
    printed: str,
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    wrong = Program(OURS, tuple(python(f"print({printed!r})")), totals=Totals.OURS)
    monkeypatch.setattr("benchmarks.run.programs_of", lambda *_: [wrong])
    arguments = ["--case", "G", "--results", str(tmp_path / "results")]
    assert runner.main(arguments) == 1
    said = capsys.readouterr()
    assert message in said.err
    assert said.out == ""
    assert list((tmp_path / "results").iterdir()) == []


@pytest.mark.parametrize(
    ("printed", "message"),
    [
        ('{"check-errors": 0, "leaks": 3}', "found 0 corruptions and 3 leaks"),
        ('{"check-errors": 1}', "no totals"),
        ("qemu-img: Could not open", "no totals"),
    ],
)
def test_a_peer_that_fails_or_errs_is_no_measure(
    printed: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "out"
    output.write_text(printed)
    peer = Program(PEER, ("qemu-img",), totals=Totals.QEMU)
    with pytest.raises(ProgramError, match=message):
        verify(peer, output, ImageSpec(1 << 30))
    output.write_text('{"check-errors": 0, "leaks": 3, "corruptions": 1}')
    verify(peer, output, ImageSpec(1 << 30, leaks=3, errors=1))


def test_a_program_that_is_not_there_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    programs = [Program("pass", tuple(python("pass"))), Program(PEER, ("no-such-qemu-img",))]
    monkeypatch.setattr("benchmarks.run.programs_of", lambda *_: programs)
    assert runner.main(["--case", "G", "--runs", "1", "--results", str(tmp_path)]) == 0
    assert "no-such-qemu-img is not there" in capsys.readouterr().err
    (case,) = json.loads((tmp_path / "results.json").read_text())["cases"]
    assert list(case["runs"]) == ["pass"]


def test_what_was_measured_before_an_interruption_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def programs(case: str, *_: object) -> list[Program]:
        if case == "F":
            raise KeyboardInterrupt
        return [Program("pass", tuple(python("pass")))]

    monkeypatch.setattr("benchmarks.run.programs_of", programs)
    arguments = ["--case", "G", "--case", "F", "--runs", "1", "--results", str(tmp_path)]
    assert runner.main(arguments) == 130
    assert "interrupted" in capsys.readouterr().err
    (case,) = json.loads((tmp_path / "results.json").read_text())["cases"]
    assert case["case"] == "G"


@pytest.mark.parametrize(
    "arguments",
    [
        "--runs 0",
        "--runs -1",
        "--size 0",
        "--size 65537",
        "--size 9999999999T",
        "--limit 0",
        "--limit nan",
        "--only nonsense",
        "--case G --document page.md",
        "--again results.json --only floor",
        "--results /proc/nothing/here",
    ],
)
def test_what_cannot_be_measured_is_refused_at_once(
    arguments: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        runner.main(arguments.split())
    assert ended.value.code == 2
    assert "error:" in capsys.readouterr().err


def test_runs_of_different_sizes_are_not_mixed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("benchmarks.run.describe", lambda: {"cores": "2"})
    results = ["--results", str(tmp_path), "--runs", "1"]
    assert runner.main(["--case", "D", "--size", "8M", "--only", FLOOR, *results]) == 0
    again = ["--again", str(tmp_path / "results.json"), "--case", "C", "--size", "16M", *results]
    assert runner.main(again) == 1
    assert "of another size" in capsys.readouterr().err


def test_the_other_cases_keep_their_results(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    programs = {
        "F": [Program("dump", tuple(python("raise SystemExit(234)")))],
        "G": [Program("pass", tuple(python("pass")))],
    }
    monkeypatch.setattr("benchmarks.run.programs_of", lambda case, *_: programs[case])
    monkeypatch.setattr("benchmarks.run.describe", lambda: {"cores": "2"})
    arguments = ["--case", "F", "--case", "G", "--results", str(tmp_path)]
    assert runner.main(arguments) == 1
    said = capsys.readouterr()
    assert "case F has no result" in said.err
    assert "status 234" in said.err
    assert [
        row["case"] for row in json.loads((tmp_path / "results.json").read_text())["cases"]
    ] == ["G"]


@pytest.mark.parametrize(
    ("text", "size"), [("65536", 65536), ("64K", 65536), ("40m", 40 << 20), ("2T", 2 << 40)]
)
def test_sizes_are_read(text: str, size: int) -> None:
    assert parse_size(text) == size


def test_the_stages_of_a_check_stand_side_by_side() -> None:
    sound = CaseResult("D", 1, phases={"start": 0.1, "tables": 0.0204, "triage": 0.0})
    damaged = CaseResult(
        "D-damaged", 1, phases={"start": 0.1, "tables": 0.03, "owners": 0.5, "triage": 0.2}
    )
    repair = CaseResult("D-repair", 1, phases={"planning": 1.5})
    results = [sound, CaseResult("G", 1), damaged, repair]
    assert phase_table(results, [REPAIR_CASE]) == [("case", "planning"), ("D-repair", "1500")]
    assert phase_table(results, CHECK_CASES) == [
        ("case", "start", "tables", "owners", "triage"),
        ("D", "100", "20", "", "0"),
        ("D-damaged", "100", "30", "500", "200"),
    ]


def test_a_check_is_timed_by_stages(tmp_path: Path) -> None:
    options = ["--case", "D-damaged", "--size", "8M", "--runs", "1", "--results", str(tmp_path)]
    assert runner.main(options) == 0
    phases = json.loads((tmp_path / "results.json").read_text())["cases"][0]["phases"]
    assert list(phases) == ["start", "refcounts", "tables", "comparing", "owners", "triage"]
    assert phases["start"] > 0.01
    assert "| D-damaged | " in (tmp_path / "results.md").read_text()


def test_a_repair_is_timed_by_stages(tmp_path: Path) -> None:
    options = ["--case", "D-repair", "--size", "8M", "--runs", "2", "--results", str(tmp_path)]
    assert runner.main(options) == 0
    document = json.loads((tmp_path / "results.json").read_text())
    (case,) = document["cases"]
    assert list(case["phases"]) == [
        "start",
        "check",
        "planning",
        "undo file",
        "writing",
        "reading back",
        "checking again",
    ]
    assert min(case["phases"].values()) >= 0
    assert "Where the time of a repair goes" in (tmp_path / "results.md").read_text()


@pytest.mark.parametrize("text", ["", "T", "-1", "1.5G", "2TiB"])
def test_odd_sizes_are_refused(text: str) -> None:
    with pytest.raises(ArgumentTypeError):
        parse_size(text)


def test_sizes_are_shown() -> None:
    assert [format_size(n) for n in (2 << 40, 64 << 30, 1000)] == ["2 TiB", "64 GiB", "1000 bytes"]
