"""Command lines that make no sense, and those that only ask what there is."""

import json
import signal

import pytest

from qcow2_dump.checks.catalogue import RULES
from qcow2_dump.cli.asked import CompletionRequest, ExplainRequest
from qcow2_dump.cli.main import main
from qcow2_dump.cli.modern import parse
from qcow2_dump.operations.requests import (
    CheckRequest,
    DumpRequest,
    InfoRequest,
    LocateRequest,
    MapRequest,
)
from qcow2_dump.operations.write_requests import (
    EditRequest,
    RepairRequest,
    UndoRequest,
    WriteOptions,
)


@pytest.mark.parametrize(
    "words",
    [
        ["check"],
        ["check", "--no-such-option", "disk.qcow2"],
        ["check", "--max-findings", "-1", "disk.qcow2"],
        ["check", "--max-findings", "many", "disk.qcow2"],
        ["check", "--max-findings", "9" * 5000, "disk.qcow2"],
        ["check", "--memory", "512X", "disk.qcow2"],
        ["check", "--memory", "M", "disk.qcow2"],
        ["check", "--memory", "-1M", "disk.qcow2"],
        ["check", "--memory", "16777216T", "disk.qcow2"],
        ["check", "--exit-like", "fsck", "disk.qcow2"],
        ["check", "--dee", "disk.qcow2"],
        ["dump", "a.qcow2", "b.qcow2"],
        ["dump", "--format", "xml", "disk.qcow2"],
        ["locate", "disk.qcow2"],
        ["locate", "disk.qcow2", "--guest", "1", "--host", "2"],
        ["locate", "disk.qcow2", "--guest", "010x"],
        ["explain"],
        ["explain", "l2.unaligned", "--list"],
        ["explain", "no.such-code"],
        ["completion", "tcsh"],
        ["snapshot", "rename", "disk.qcow2", "1"],
        ["snapshot", "apply", "disk.qcow2"],
        ["snapshot", "list", "disk.qcow2", "1"],
        ["flag", "mark", "disk.qcow2", "lazy"],
        ["edit", "disk.qcow2", "0x10", "--width", "3"],
        ["edit", "disk.qcow2", "0x10", "256", "--width", "1"],
        ["edit", "disk.qcow2", "ten"],
        ["copy", "disk.qcow2", "--from", "1", "--to", "2"],
        ["copy", "disk.qcow2", "--from", "1", "--to", "2", "--length", "0x200001"],
        ["rebase", "disk.qcow2"],
        ["repair", "disk.qcow2", "--undo-file", "u", "--no-undo"],
    ],
)
def test_usage_errors(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 234
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith(f"qcow2-dump {words[0]}: ")
    assert said.err.count("\n") == 1


def test_an_unknown_option_tells_those_there_are(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["map", "--detail", "disk.qcow2"]) == 234
    said = capsys.readouterr().err
    assert all(name in said for name in ("'--detail'", "--details", "--chain", "--json"))


def test_no_words_at_all_show_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 234
    assert "commands that only read:" in capsys.readouterr().out


def test_a_mistyped_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["chekc", "disk.qcow2"]) == 234
    assert "did you mean check?" in capsys.readouterr().err


def test_options_may_stand_before_and_after_the_operands() -> None:
    orders = [
        "edit --width 4 disk 0x10 5 --yes",
        "edit disk --yes 0x10 --width 4 5",
        "edit --yes --width=4 -- disk 0x10 5",
    ]
    requests = {parse(line.split()).request for line in orders}
    assert requests == {
        EditRequest(image="disk", offset=16, value=5, width=4, options=WriteOptions(yes=True))
    }


def test_what_follows_a_double_dash_is_an_operand() -> None:
    assert parse(["check", "--deep", "--", "--errors", "-h"]).request == CheckRequest(
        images=("--errors", "-h"), deep=True
    )


def test_no_choice_of_a_repair_shows_that_of_all() -> None:
    nothing = parse(["repair", "disk", "--free-orphans"]).request
    assert nothing == parse(["repair", "disk", "--all", "--free-orphans", "--dry-run"]).request
    dropping = parse(["repair", "disk", "--drop-snapshot", "0", "--drop-snapshot", "0x2"]).request
    assert isinstance(dropping, RepairRequest)
    assert dropping.drop_snapshots == (0, 2)
    assert not (dropping.everything)
    assert not (dropping.options.dry_run)


def test_signal_handlers_are_put_back() -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    main(["--version"])
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("qcow2-dump ")


def test_options_become_a_request() -> None:
    words = "check --deep --errors --statistics --max-findings 0x10 --exit-like qemu-img --base a b"
    asked = parse(words.split())
    assert asked.request == CheckRequest(
        images=("a", "b"),
        deep=True,
        max_findings=16,
        errors=True,
        statistics=True,
        exit_like="qemu-img",
        look_for_backing=False,
    )
    assert (asked.json, asked.color, asked.classic) == (False, "auto", None)
    assert parse(["check", "a"]).request == CheckRequest(images=("a",))


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("0", 0),
        ("4096", 4096),
        ("64k", 64 << 10),
        ("512M", 512 << 20),
        ("0x1G", 1 << 30),
        ("2T", 2 << 40),
    ],
)
def test_sizes(text: str, size: int) -> None:
    assert parse(["check", "--memory", text, "a"]).request == CheckRequest(
        images=("a",), memory=size
    )


@pytest.mark.parametrize(
    ("line", "request_"),
    [
        (
            "info a b --chain --base",
            InfoRequest(images=("a", "b"), chain=True, look_for_backing=False),
        ),
        (
            "dump a --what refcounts --snapshot 1 --format csv --flags",
            DumpRequest(image="a", what="refcounts", snapshot="1", format="csv", flags=True),
        ),
        ("map a --snapshot 1 --chain", MapRequest(image="a", snapshot="1", chain=True)),
        ("locate a --guest 010", LocateRequest(image="a", guest=10)),
        ("locate a --host 0xFF", LocateRequest(image="a", host=255)),
        ("explain l2.copied", ExplainRequest("l2.copied")),
        ("completion zsh", CompletionRequest("zsh")),
        ("undo a --list", UndoRequest(image="a", listing=True)),
    ],
)
def test_lines_become_requests(line: str, request_: object) -> None:
    assert parse(line.split()).request == request_


def test_how_an_answer_is_shown() -> None:
    asked = parse(["map", "a", "--json", "--details", "--color", "never"])
    assert (asked.json, asked.details, asked.color) == (True, True, "never")


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


def test_explain_a_family_of_codes(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", "refcount"]) == 234
    said = capsys.readouterr().err
    assert all(code in said for code in RULES if code.startswith("refcount."))
    assert "l2." not in said


def test_explain_names_the_command_that_mends_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", "refcount.leak"]) == 0
    assert "qcow2-dump repair IMAGE --leaks --dry-run" in capsys.readouterr().out
    assert main(["explain", "header.dirty"]) == 0
    shown = capsys.readouterr().out
    assert ("qcow2-dump repair IMAGE" in shown) == (RULES["header.dirty"].option is not None)


def test_explain_list(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", "--list"]) == 0
    listed = [line.split()[0] for line in capsys.readouterr().out.splitlines()]
    assert listed == list(RULES)


def test_explain_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", "--list", "--json"]) == 0
    documents = json.loads(capsys.readouterr().out)
    assert [document["code"] for document in documents] == list(RULES)
    assert documents[0]["exit_status"] == RULES[documents[0]["code"]].verdict
