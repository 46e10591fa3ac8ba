"""Every page of help: on one screen, complete, and ending with examples that make sense."""

import shlex
import subprocess
import sys

import pytest

from qcow2_dump.cli import classic, modern
from qcow2_dump.cli.classic_options import OPTIONS, classic_page
from qcow2_dump.cli.help_screen import help_lines
from qcow2_dump.cli.main import main
from qcow2_dump.cli.modern import SUBCOMMANDS, main_page, subcommand, subcommand_page
from qcow2_dump.cli.pages import Page
from qcow2_dump.cli.subcommand import option_entries
from tests.cli.running import environment

ROWS_OF_A_SCREEN = 45
COLUMNS_OF_A_SCREEN = 80
PAGES = {
    "--help": main_page(),
    "-h": classic_page(),
    **{f"{name} --help": subcommand_page(name) for name in SUBCOMMANDS},
}


@pytest.mark.parametrize("line", PAGES)
def test_a_page_fits_a_screen_and_ends_with_examples(
    line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(line.split()) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines == list(help_lines(PAGES[line]))
    assert len(lines) <= ROWS_OF_A_SCREEN
    assert max(map(len, lines)) <= COLUMNS_OF_A_SCREEN
    assert "examples:" in lines[-5:]
    assert lines[-1].startswith("  qcow2-dump ") or "qcow2-dump " in lines[-1]


def test_help_is_given_wherever_it_is_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["map", "disk.qcow2", "-h"]) == 0
    assert capsys.readouterr().out.startswith("usage: qcow2-dump map ")
    assert main(["-m", "check", "--help", "disk.qcow2"]) == 0
    assert capsys.readouterr().out.startswith("usage: qcow2-dump [options] IMAGE")


@pytest.mark.parametrize("name", SUBCOMMANDS)
def test_a_page_tells_every_option(name: str) -> None:
    page = "\n".join(help_lines(subcommand_page(name)))
    for entry in option_entries(subcommand(name).options()):
        assert f"\n  {entry.shown}" in page
        assert entry.words.split()[0] in page


def test_the_classic_page_tells_safe_from_dangerous() -> None:
    safe, dangerous = classic_page().sections
    assert safe.heading.startswith("safe")
    assert dangerous.heading.startswith("dangerous")
    told = {name for section in (safe, dangerous) for e in section.entries for name in e.names}
    assert told == {name for option in OPTIONS for name in option.names[:2]}
    dangerous_names = {entry.names[0] for entry in dangerous.entries}
    assert {"-R", "-A", "-D", "-E", "-M", "-C", "-O", "-V"} <= dangerous_names
    assert "edit, copy, rebase" in dangerous.heading


@pytest.mark.parametrize("line", PAGES)
def test_examples_can_be_typed(line: str) -> None:
    for example in PAGES[line].examples:
        program, *words = shlex.split(example.line.removeprefix("source <(").rstrip(")"))
        words = words[: words.index("|")] if "|" in words else words
        assert program == "qcow2-dump"
        (modern if words[0] in SUBCOMMANDS else classic).parse(words)


def page_of_words(words: str) -> Page:
    """A page with one option, told in these words."""
    entry = main_page().sections[2].entries[0]._replace(words=words)
    section = main_page().sections[2]._replace(entries=(entry,))
    return main_page()._replace(sections=(section,))


def test_long_words_are_wrapped_below_themselves() -> None:
    lines = list(help_lines(page_of_words("word " * 40)))
    first = next(index for index, line in enumerate(lines) if line.startswith("  -h"))
    column = lines[first].index("word")
    assert lines[first + 1].index("word") == column
    assert max(map(len, lines[first:])) <= COLUMNS_OF_A_SCREEN


LEAN = ("numpy", "tqdm", "zstandard", "argparse", "dataclasses")


@pytest.mark.parametrize(
    ("words", "spared"),
    [
        (["--help"], LEAN),
        (["-h"], LEAN[:4]),
        (["check", "--help"], LEAN[:3]),
        (["check", "--no-such-option"], LEAN[:3]),
        (["-m", "nothing", "disk.qcow2"], LEAN[:4]),
        (["repair", "--no-such-option"], LEAN[:3]),
        (["completion", "bash"], LEAN[:3]),
        (["__complete", "bash", "1", "explain", ""], LEAN[:3]),
    ],
)
def test_words_are_answered_without_heavy_modules(
    words: list[str], spared: tuple[str, ...]
) -> None:
    program = (
        "import sys\n"
        "from qcow2_dump.cli.main import main\n"
        f"main({words!r})\n"
        f"print(*(name for name in {spared!r} if name in sys.modules), file=sys.stderr)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=True,
        env=environment(),
        timeout=60,
    )
    assert done.stderr.splitlines()[-1] == ""
