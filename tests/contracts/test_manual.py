"""The manual page and the reference tell everything, in a form that their readers take."""

import subprocess

import pytest

from qcow2_dump.checks.verdict import Verdict
from qcow2_dump.cli.classic_options import OPTIONS
from qcow2_dump.cli.modern import SUBCOMMANDS, subcommand_page
from scripts.generate_docs import DOCS
from scripts.manual import manual_page, reference
from tests.support.tools import require_tool


def section(text: str, start: str, end: str) -> str:
    """What stands between two headings."""
    return text.partition(f"\n{start}\n")[2].partition(f"\n{end}")[0]


@pytest.mark.parametrize("name", SUBCOMMANDS)
def test_the_reference_has_every_option_of_a_subcommand(name: str) -> None:
    part = section(reference(), f"## {name}", "## ")
    page = subcommand_page(name)
    assert page.purpose in part
    for shown in (entry.shown for group in page.sections for entry in group.entries):
        assert "| `" + shown.replace("|", r"\|") + "` |" in part
    for example in page.examples:
        assert example.line in part


@pytest.mark.parametrize("name", SUBCOMMANDS)
def test_the_manual_has_every_option_of_a_subcommand(name: str) -> None:
    part = section(manual_page(), f".SS {name}", ".S")
    for group in subcommand_page(name).sections:
        for entry in group.entries:
            assert "\n\\fB" + entry.shown.replace("-", r"\-") + "\\fR\n" in part


def test_both_have_every_classic_option() -> None:
    for option in OPTIONS:
        shown = option.entry._replace(names=option.names[:2]).shown
        assert shown.replace("|", r"\|") in section(reference(), "## Classic options", "## ")
        classic = section(manual_page(), ".SH CLASSIC OPTIONS", ".SH EXIT")
        assert shown.replace("-", r"\-") in classic


def test_both_have_every_verdict() -> None:
    for verdict in Verdict:
        assert f"| {verdict.value} | {verdict.label}: " in reference()
        assert f"\\fB{verdict.value}\\fR\n{verdict.label}".replace("-", r"\-") in manual_page()


def test_no_line_of_the_manual_is_taken_for_a_request() -> None:
    known = {".TH", ".SH", ".SS", ".PP", ".TP", ".nf", ".fi", ".br", ".BR", '.\\"'}
    for line in manual_page().splitlines():
        if line.startswith((".", "'")):
            assert line.split(maxsplit=1)[0] in known


@pytest.mark.parametrize(
    "program",
    [
        ["groff", "-man", "-ww", "-Tutf8"],
        ["mandoc", "-Tlint", "-Wwarning"],
    ],
    ids=lambda program: program[0],
)
def test_the_manual_is_sound(program: list[str]) -> None:
    require_tool(program[0], "the manual page")
    done = subprocess.run(
        [*program, str(DOCS / "qcow2-dump.1")], capture_output=True, text=True, check=False
    )
    said = [line for line in (done.stderr + done.stdout).splitlines() if "WARNING" in line]
    # It has no date: one that is generated would never be current.
    assert [line for line in said if "missing date" not in line] == []
    assert program[0] == "mandoc" or done.stderr == ""
