"""Which programs are measured on which case, and how they should compare."""

import sys
from collections.abc import Collection
from dataclasses import dataclass, replace
from enum import Enum
from pathlib import Path

from benchmarks.floor import read_metadata
from benchmarks.spec import CASES, is_page

OURS = "qcow2-dump"
FLOOR = "floor"
PEER = "qemu-img check"
WRITES = "write twice"
DUMP, ECHO, REPAIR = "dump", "write the same bytes", "repair"
INFO, HELP, PASS = "info", "--help", "pass"
NUMPY = "import numpy"
NUMPY_ALONE = "import numpy, one thread"
REPORT = "report"
SMALL_BUDGET = "192M"
OURS_SMALL = f"qcow2-dump --memory {SMALL_BUDGET}"

PROGRAM_NAMES = (
    *(OURS, OURS_SMALL, FLOOR, PEER, REPORT, REPAIR, WRITES, DUMP, ECHO),
    *(NUMPY, NUMPY_ALONE, INFO, HELP, PASS),
)

_HERE = Path(__file__).parent
_PYTHON = sys.executable
_TOOL = (_PYTHON, "-m", "qcow2_dump")
_VERDICTS = range(9)
# Status 1 means that the check itself failed.
_CHECKED = (0, 2, 3)
_DONE = range(1)


class Totals(Enum):
    """In which form a program prints how much it found."""

    OURS = "ours"
    QEMU = "qemu-img"


@dataclass(frozen=True, slots=True)
class Program:
    """A command under a name of its own; its exit status must be one of `statuses`."""

    name: str
    command: tuple[str, ...]
    statuses: Collection[int] = _DONE
    limited: bool = False
    """Stopped when it takes longer than the runner's limit."""
    totals: Totals | None = None
    """Its output is a JSON report, whose totals are compared with what was planted."""
    cold: bool = False
    """The page cache holds nothing of the image when it starts."""
    changes: Path | None = None
    """The copy of the image that it changes, made anew before each run."""
    page: Path | None = None
    """The page that it writes."""


@dataclass(frozen=True, slots=True)
class Target:
    """`program` takes at most `factor` times as long as `peer`, which `peer_case` measures.

    What `plus`, a program of the same case, takes is allowed on top.
    """

    case: str
    program: str
    factor: float
    peer: str
    peer_case: str = ""
    plus: str = ""

    def __str__(self) -> str:
        where = f" in {self.peer_case}" if self.peer_case else ""
        factor = f"1/{1 / self.factor:.0f}" if self.factor < 1 else f"{self.factor:g}x"
        more = f", and {self.plus}" if self.plus else ""
        return f"{self.program}: at most {factor} of {self.peer}{where}{more}"


def programs_of(case: str, image: Path, scratch: Path) -> list[Program]:
    """The programs of a case, in the order in which each round runs them.

    `scratch` is the directory in which each program's output is kept, in a file by its name.
    """
    if case == "F":
        dump = Program(DUMP, (*_TOOL, "-m", "dump", str(image)), _VERDICTS)
        echo = (_PYTHON, str(_HERE / "echo.py"), str(output_of(scratch, dump)))
        return [dump, Program(ECHO, echo)]
    if case == "G-start":
        return [
            Program(INFO, (*_TOOL, "info", str(image))),
            Program(HELP, (*_TOOL, "--help")),
            Program(PASS, (_PYTHON, "-c", "pass")),
        ]
    check = Program(OURS, (*_TOOL, "check", "--json", str(image)), _VERDICTS, totals=Totals.OURS)
    theirs = ("qemu-img", "check", "--output=json", str(image))
    peer = Program(PEER, theirs, _CHECKED, limited=True, totals=Totals.QEMU)
    if case == "G":
        alone = f"import os; os.environ['OPENBLAS_NUM_THREADS'] = '1'; {NUMPY}"
        return [
            check,
            peer,
            Program(NUMPY, (_PYTHON, "-c", NUMPY)),
            Program(NUMPY_ALONE, (_PYTHON, "-c", alone)),
        ]
    floor = Program(FLOOR, (_PYTHON, str(_HERE / "floor.py"), str(image)))
    if case == "D-cold":
        return [replace(check, cold=True), replace(floor, cold=True)]
    if case == REPAIR_CASE:
        return [check, *_repair(image, scratch)]
    if is_page(case):
        page = scratch / "page.html"
        command = (*_TOOL, "report", str(image), "-o", str(page))
        return [check, Program(REPORT, command, _VERDICTS, page=page)]
    return [check, floor, peer]


def curve_programs(image: Path) -> list[Program]:
    """The programs that are measured on each image of the curve."""
    check = (*_TOOL, "check", "--json", str(image))
    small = ("--memory", SMALL_BUDGET)
    return [
        Program(OURS, check, _VERDICTS, totals=Totals.OURS),
        Program(OURS_SMALL, (*check, *small), _VERDICTS, totals=Totals.OURS),
        Program(FLOOR, (_PYTHON, str(_HERE / "floor.py"), str(image))),
    ]


def _repair(image: Path, scratch: Path) -> list[Program]:
    """A repair of a copy, and the least that can be written for it."""
    copy = scratch / "repaired.qcow2"
    command = (*_TOOL, "repair", "--all", "--yes", str(copy))
    # Every table and refcount block holds something to repair.
    length = read_metadata(str(image))
    rewrite = (_PYTHON, str(_HERE / "rewrite.py"), str(scratch / "rewritten"), str(length))
    return [Program(REPAIR, command, changes=copy), Program(WRITES, rewrite)]


def output_of(scratch: Path, program: Program) -> Path:
    """Where the output of a program goes."""
    return scratch / f"{program.name.replace(' ', '-').strip('-')}.out"


MEMORY_TARGET = 100_000_000
"""Bytes that a check of a 2 TiB image may take at its peak (cases A to E)."""

CHECK_CASES = ("A", "B", "C", "D", "D-damaged", "E")
"""Cases of which the check is held to the memory target."""

PAGE_TARGET = 3_000_000
"""Bytes that the page about an image may have."""

PAGE_CASES = tuple(filter(is_page, CASES))

REPAIR_CASE = "D-repair"
SIZED_CASES = (*CHECK_CASES, REPAIR_CASE, *PAGE_CASES)
"""Cases whose targets are stated for a disk of 2 TiB."""

TARGETS = (
    Target("A", OURS, 1 / 12, PEER),
    Target("B", OURS, 1 / 5, PEER),
    Target("C", OURS, 3.5, OURS, "D"),
    Target("D", OURS, 1 / 30, PEER),
    Target("D", OURS, 20, FLOOR),
    Target("D-damaged", OURS, 2, OURS, "D"),
    Target(REPAIR_CASE, REPAIR, 3, OURS, plus=WRITES),
    Target("E", OURS, 1 / 30, PEER),
    Target("E", OURS, 20, FLOOR),
    Target("F", DUMP, 10, ECHO),
    Target("G", OURS, 2, NUMPY),
    Target("G-start", INFO, 8, PASS),
    Target("G-start", HELP, 8, PASS),
    *(Target(case, REPORT, 2, OURS) for case in PAGE_CASES),
)
