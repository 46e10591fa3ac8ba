"""Command lines that make no sense, and those that only ask what there is."""

import json
import signal

import pytest

from qcow2_dump.checks.catalogue import RULES
from qcow2_dump.cli.main import main
from qcow2_dump.cli.modern import BUILT, COMMANDS, build_parser, check_request
from qcow2_dump.operations.requests import CheckRequest
from qcow2_dump.report.commands import PLANNED

ROWS_OF_A_SCREEN = 40


@pytest.mark.parametrize(
    "words",
    [
        ["check"],
        ["check", "--no-such-option", "disk.qcow2"],
        ["check", "--max-findings", "-1", "disk.qcow2"],
        ["check", "--max-findings", "many", "disk.qcow2"],
        ["check", "--exit-like", "fsck", "disk.qcow2"],
        ["check", "--dee", "disk.qcow2"],
        ["explain"],
        ["explain", "l2.unaligned", "--list"],
        ["explain", "no.such-code"],
        ["disk.qcow2"],
        ["--no-such-option"],
    ],
)
def test_usage_errors(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 234
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("qcow2-dump")
    assert said.err.count("\n") == 1


def test_no_words_at_all_show_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 234
    assert "commands:" in capsys.readouterr().out


def test_the_first_word_must_be_a_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["disk.qcow2"]) == 234
    said = capsys.readouterr().err
    assert all(command in said for command in BUILT)


@pytest.mark.parametrize("command", sorted(PLANNED))
def test_commands_that_do_not_exist_yet(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([command, "disk.qcow2", "--anything"]) == 161
    assert capsys.readouterr().err == f"qcow2-dump {command}: not built yet\n"


def test_nothing_is_both_built_and_planned() -> None:
    assert not set(BUILT) & PLANNED
    assert set(BUILT) | PLANNED == COMMANDS


@pytest.mark.parametrize("words", [["--help"], *([command, "--help"] for command in BUILT)])
def test_help_fits_a_screen_and_ends_with_examples(
    words: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert main(words) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) <= ROWS_OF_A_SCREEN
    assert max(len(line) for line in lines) <= 88
    assert "examples:" in lines[-10:]


def test_signal_handlers_are_put_back() -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    main(["--version"])
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("qcow2-dump ")


def test_options_become_a_request() -> None:
    words = "check --deep --errors --statistics --max-findings 0x10 --exit-like qemu-img --base a b"
    assert check_request(build_parser().parse_args(words.split())) == CheckRequest(
        images=("a", "b"),
        deep=True,
        max_findings=16,
        errors=True,
        statistics=True,
        exit_like="qemu-img",
        look_for_backing=False,
    )
    assert check_request(build_parser().parse_args(["check", "a"])) == CheckRequest(images=("a",))


@pytest.mark.parametrize("code", RULES)
def test_explain_prints_the_whole_row(code: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", code, "--color", "always"]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    rule = RULES[code]
    for words in (rule.title, rule.meaning, rule.cause, rule.effect, rule.repair):
        assert " ".join(words.split()) in shown


def test_explain_a_code_that_is_nearly_right(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", "l2.beyond-the-end"]) == 234
    assert "did you mean l2.beyond-end?" in capsys.readouterr().err


def test_explain_list(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", "--list"]) == 0
    listed = [line.split()[0] for line in capsys.readouterr().out.splitlines()]
    assert listed == list(RULES)


def test_explain_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", "--list", "--json"]) == 0
    documents = json.loads(capsys.readouterr().out)
    assert [document["code"] for document in documents] == list(RULES)
    assert documents[0]["exit_status"] == RULES[documents[0]["code"]].verdict
