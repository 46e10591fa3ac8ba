"""Completion: what is offered where, in real shells too, and never anything that could harm."""

import os
import pty
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from qcow2_dump.checks.catalogue import RULES
from qcow2_dump.cli.classic_options import OPTIONS
from qcow2_dump.cli.commands.completing import SHELLS
from qcow2_dump.cli.completion import FILES, Candidate, candidates, complete
from qcow2_dump.cli.main import COMPLETE, main
from qcow2_dump.cli.modern import SUBCOMMANDS, subcommand
from qcow2_dump.cli.subcommand import option_entries
from tests.builder.spec import SnapshotSpec
from tests.builder.std import std_image
from tests.cli.running import environment, run
from tests.support.tools import require_tool

HOSTILE = ("esc\x1b[2J", "two\nlines", "-dash", ":files", "\u202eright", "x" * 200)
MODES = ["info", "check", "error", "dump", "edit", "copy", "rebase"]
SECONDS = 30


def offered(*words: str, for_: str = "zsh", index: int | None = None) -> list[str]:
    """The words that are offered for the last word of a line, or the one at an index."""
    found = candidates(for_, words, len(words) - 1 if index is None else index)
    return [candidate.word for candidate in found]


@pytest.fixture
def image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of an image in the current folder, with friendly and hostile snapshots."""
    names = ("monday", "new year", "$(touch pwned)", *HOSTILE)
    snapshots = [SnapshotSpec(str(number), name) for number, name in enumerate(names, 1)]
    # One that has nothing by which it could be called.
    snapshots.append(SnapshotSpec("\x1b", "\x07"))
    std_image(snapshots=tuple(snapshots)).write_to(tmp_path / "disk.qcow2")
    monkeypatch.chdir(tmp_path)
    return "disk.qcow2"


def test_the_first_word() -> None:
    assert offered("") == [*SUBCOMMANDS, FILES.word]
    names = [name for option in OPTIONS for name in option.names]
    assert offered("-") == names


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["-m", ""], MODES),
        (["-fm", ""], MODES),
        (["--mode="], [f"--mode={mode}" for mode in MODES]),
        (["-R", ""], ["none", "check", "leak", "error", "reuse", "all"]),
        (["-f", ""], [FILES.word]),
        (["dump", "--format", ""], ["text", "jsonl", "csv"]),
        (["dump", "--format=c"], ["--format=text", "--format=jsonl", "--format=csv"]),
        (["dump", ""], [FILES.word]),
        (["dump", "disk", ""], []),
        (["check", "a", "b", ""], [FILES.word]),
        (["check", "--max-findings", ""], []),
        (["check", "--", "-"], [FILES.word]),
        (["repair", "disk", "--undo-file", ""], [FILES.word]),
        (["snapshot", ""], ["list", "apply", "delete", "keep"]),
        (["snapshot", "--yes", "apply", ""], [FILES.word]),
        (["flag", "mark", "disk", ""], ["dirty", "corrupt"]),
        (["completion", ""], list(SHELLS)),
        (["explain", ""], list(RULES)),
    ],
)
def test_what_is_offered(words: list[str], expected: list[str]) -> None:
    assert offered(*words) == expected


@pytest.mark.parametrize("name", SUBCOMMANDS)
def test_every_option_of_a_subcommand(name: str) -> None:
    entries = option_entries(subcommand(name).options())
    assert offered(name, "-") == [word for entry in entries for word in entry.names]


@pytest.mark.parametrize(
    ("words", "index", "first"),
    [
        (["dump", "@", "--snapshot", ""], 3, ["active", "inactive", "all"]),
        (["dump", "--snapshot", "", "@"], 2, ["active", "inactive", "all"]),
        (["map", "@", "--snapshot", ""], 3, []),
        (["snapshot", "apply", "@", ""], 3, []),
        (["-s", "", "@"], 1, ["active", "inactive", "all"]),
        (["@", "-D", ""], 2, ["all"]),
        (["-A", "", "@"], 1, []),
        (["-E", "", "./@"], 1, ["0"]),
    ],
)
def test_snapshots_of_the_image_named(
    image: str, words: list[str], index: int, first: list[str]
) -> None:
    found = offered(*(word.replace("@", image) for word in words), index=index)
    assert found[: len(first)] == first
    assert found[len(first) : len(first) + 4] == ["1", "monday", "2", "new year"]
    assert found[-1] == "snapshot[9]"


def test_hostile_names_are_not_offered(image: str) -> None:
    found = candidates("fish", ["map", image, "--snapshot", ""], 3)
    assert not {candidate.word for candidate in found} & set(HOSTILE)
    for candidate in found:
        assert f"{candidate.word}{candidate.words}".isprintable()
    assert {"4", "5", "6", "7", "8"} <= {candidate.word for candidate in found}


def test_bash_gets_only_what_fits_and_splits_at_equals_signs(image: str) -> None:
    assert offered("ex", for_="bash") == ["explain", FILES.word]
    assert offered("map", image, "--snapshot", "=", "mo", for_="bash") == ["monday"]
    assert offered("dump", "--format", "=", for_="bash") == ["text", "jsonl", "csv"]
    assert offered("map", image, "--snapshot", r"new\ y", for_="bash") == ["new year"]
    assert offered("map", image, "--snapshot", "'new", for_="bash") == ["new year"]
    assert offered("nothing-like-it", for_="bash") == [FILES.word]


def test_candidates_say_what_they_mean() -> None:
    assert Candidate("check", SUBCOMMANDS["check"].summary) in candidates("zsh", [""], 0)
    assert Candidate("l2.copied", RULES["l2.copied"].title) in candidates("zsh", ["explain", ""], 1)


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["bash"],
        ["bash", "x"],
        ["bash", "-5", "a"],
        ["bash", "7"],
        ["tcsh", "0", "\udcff"],
        ["bash", "2", "map", "--snapshot", "", "/dev/null"],
        ["bash", "2", "map", "--snapshot", "", "/"],
        ["bash", "2", "map", "--snapshot", "", __file__],
        ["bash", "2", "map", "--snapshot", "", "a\0b"],
    ],
)
def test_the_hidden_call_never_complains(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([COMPLETE, *words]) == 0
    assert complete(words) == 0
    assert capsys.readouterr().err == ""


def test_a_damaged_image_has_fewer_candidates(image: str) -> None:
    with Path(image).open("r+b") as file:
        file.truncate(200)
    assert run(COMPLETE, "zsh", "2", "dump", "--snapshot", "", image).returncode == 0


def test_a_shell_that_is_not_known(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", "tcsh"]) == 234
    assert "bash, zsh or fish" in capsys.readouterr().err


@pytest.fixture
def path_to_command(tmp_path: Path) -> str:
    """A PATH on which `qcow2-dump` is found."""
    folder = tmp_path / "bin"
    folder.mkdir()
    command = folder / "qcow2-dump"
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -m qcow2_dump "$@"\n')
    command.chmod(0o755)
    return f"{folder}:{os.environ['PATH']}"


BASH_PROBE = """
source <(qcow2-dump completion bash)
probe() {
    COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _qcow2_dump
    printf '<%s>' "${COMPREPLY[@]}"; echo
}
probe qcow2-dump exp
probe qcow2-dump -m d
probe qcow2-dump explain l2.beyond-e
probe qcow2-dump map disk.qcow2 --snapshot ne
probe qcow2-dump map disk.qcow2 --snapshot = mon
probe qcow2-dump dump disk.qcow2 --snapshot '$'
probe qcow2-dump di
probe qcow2-dump check --dee
"""


def test_in_bash(image: str, path_to_command: str) -> None:
    done = subprocess.run(
        [require_tool("bash", "its completion"), "--norc", "-c", BASH_PROBE],
        capture_output=True,
        text=True,
        check=True,
        env=environment(PATH=path_to_command),
        timeout=60,
    )
    assert done.stdout.splitlines() == [
        "<explain>",
        "<dump>",
        "<l2.beyond-end>",
        r"<new\ year>",
        "<monday>",
        r"<\$\(touch\ pwned\)>",
        "<>",
        "<--deep>",
    ]
    assert done.stderr == ""
    assert not Path("pwned").exists()


FISH_PROBE = r"""
qcow2-dump completion fish | source
complete -C 'qcow2-dump exp'
complete -C 'qcow2-dump map disk.qcow2 --snapshot mon'
complete -C 'qcow2-dump map disk.qcow2 --snapshot \$'
complete -C 'qcow2-dump check --dee'
complete -C 'qcow2-dump check dis'
"""


def test_in_fish(image: str, path_to_command: str) -> None:
    done = subprocess.run(
        [require_tool("fish", "its completion"), "--no-config", "-c", FISH_PROBE],
        capture_output=True,
        text=True,
        check=True,
        env=environment(PATH=path_to_command, HOME=str(Path.cwd())),
        timeout=60,
    )
    words = [line.split("\t")[0] for line in done.stdout.splitlines()]
    assert words == ["explain", "monday", "$(touch pwned)", "--deep", "disk.qcow2"]
    assert not Path("pwned").exists()


@pytest.mark.parametrize(
    ("typed", "completed"),
    [
        ("qcow2-dump expl", "explain "),
        ("qcow2-dump map disk.qcow2 --snapshot ne", r"new\ year "),
        ("qcow2-dump check dis", "disk.qcow2 "),
    ],
)
@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_the_tab_key(
    shell: str, typed: str, completed: str, image: str, path_to_command: str
) -> None:
    setup = f"source <(qcow2-dump completion {shell})"
    arguments = [require_tool(shell, "its completion"), "--norc", "-i"]
    if shell == "zsh":
        arguments = [arguments[0], "-f", "-i"]
        setup = f"autoload -Uz compinit; compinit -u -D; {setup}"
    keys = Terminal(arguments, environment(PATH=path_to_command, TERM="dumb", COLUMNS="200"))
    try:
        keys.type(f"{setup}; echo rea''dy\n")
        keys.expect("ready")
        keys.type(f"{typed}\t")
        # The shell echoes what was typed and adds the rest of the word, maybe with a bell.
        assert completed in keys.expect(completed)
    finally:
        keys.close()


class Terminal:
    """A program on a terminal of its own, that is typed to."""

    def __init__(self, arguments: list[str], variables: dict[str, str]) -> None:
        self._pid, self._descriptor = pty.fork()
        if self._pid == 0:
            os.execve(arguments[0], arguments, variables)  # noqa: S606 - a shell is what is tested

    def type(self, text: str) -> None:
        """Type something."""
        os.write(self._descriptor, text.encode())

    def expect(self, text: str) -> str:
        """What appears, up to some text; without bells and returns to the start of the line."""
        seen = ""
        end = time.monotonic() + SECONDS
        while text not in seen and time.monotonic() < end:
            if select.select([self._descriptor], [], [], 0.1)[0]:
                try:
                    new = os.read(self._descriptor, 65536).decode("utf-8", "replace")
                except OSError:  # the program has ended
                    break
                seen += new.replace("\x07", "").replace("\r", "")
        assert text in seen
        return seen

    def close(self) -> None:
        """End the program."""
        os.kill(self._pid, signal.SIGKILL)
        os.waitpid(self._pid, 0)
        os.close(self._descriptor)
