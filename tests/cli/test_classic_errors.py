"""Classic lines that make no sense, or ask for what cannot be: no image is changed."""

import shlex
import subprocess
from pathlib import Path

import pytest

from qcow2_dump.cli.classic_options import OPTIONS
from qcow2_dump.cli.main import main
from tests.builder.std import std_image
from tests.cli.running import COMMAND, environment, run


def refusal(line: str, capsys: pytest.CaptureFixture[str], status: int = 234) -> str:
    """The one line that is said about a classic line."""
    assert main(shlex.split(line)) == status
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("qcow2-dump: ")
    assert said.err.count("\n") == 1
    return said.err


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("-m chekc disk", "info, check, error, dump, edit, copy or rebase"),
        ("-mf disk", "-m is 'f', must be info"),
        ("-o tables disk", "refcount, snapshot or all"),
        ("-d blue disk", "color, none or off"),
        ("-R leaks disk", "none, check, leak, error, reuse, all or off"),
        ("-M lazy disk", "none, dirty, corrupt or off"),
        ("-C '' disk", "none, dirty, corrupt or off"),
        ("-m", "-m needs a value"),
        ("--snapshot", "--snapshot needs a value"),
        ("--flags=yes disk", "--flags takes no value"),
        ("--m disk", "no option '--m'"),
        ("--bogus disk", "-m/--mode -o/--output"),
        ("-b", "an IMAGE is missing"),
        ("--", "an IMAGE is missing"),
        ("-b one two", "'two' is one IMAGE too many"),
        ("-m edit disk", "-m edit needs -O"),
        ("-m edit -O ten disk", "-O: 'ten' is no number"),
        ("-m edit -O -1 disk", "-O: '-1' is no number"),
        ("-m edit -O 0x10000000000000000 disk", "no number from 0"),
        ("-m edit -O 0x8000000000000000 disk", "must be 0 up to"),
        ("-m edit -O 0 -w 3 disk", "must be 1, 2, 4 or 8"),
        ("-m edit -O 0 -w 0 disk", "must be 1, 2, 4 or 8"),
        ("-m edit -O 0 -V 256 -w 1 disk", "0x100 does not fit into 1 byte"),
        ("-m edit -O 0 -S 1 disk", "-S goes with -m copy, not -m edit"),
        ("-m copy -O 0 -S 1 disk", "-m copy needs -w"),
        ("-m copy -O 0 -w 1 disk", "-m copy needs -S"),
        ("-m copy -O 0 -S 1 -w 0 disk", "must be 1 up to one cluster"),
        ("-m copy -O 0 -S 1 -w 0x200001 disk", "must be 1 up to one cluster"),
        ("-m rebase disk", "-m rebase needs -F"),
        ("-m rebase -F '' disk", "must have 1 to 1,023"),
        ("-O 0 disk", "-O goes with -m edit or copy, not -m check"),
        ("-V 0 disk", "-V goes with -m edit, not"),
        ("-m info -w 8 disk", "-w goes with -m edit or copy"),
        ("-F base disk", "-F goes with -m copy or rebase"),
        ("-r disk", "-r goes with -R leak, error, reuse or all"),
        ("-R check -r disk", "-r goes with -R"),
        ("--free-orphans disk", "--free-orphans goes with -R"),
        ("-A 1 --free-orphans disk", "--free-orphans goes with -R"),
        ("--dry-run disk", "--dry-run goes with an option that changes"),
        ("-R check --yes disk", "--yes goes with an option that changes"),
        ("-m dump -R leak disk", "-R goes with -m check, not -m dump"),
        ("-m error -R check disk", "-R goes with -m check, not -m error"),
        ("-m info -A 1 disk", "-A goes with -m check, not -m info"),
        ("-m edit -O 0 -D all disk", "-D goes with -m check, not -m edit"),
        ("-M dirty -C corrupt disk", "-M and -C are several changes"),
        ("-M dirty -C dirty disk", "-M and -C are several changes"),
        ("-A 1 -D 2 disk", "-A and -D are several changes"),
        ("-R all -C corrupt disk", "-R and -C are several changes"),
        ("-A '' disk", "needs a snapshot"),
        ("-R all --undo-file u --no-undo disk", "contradict each other"),
    ],
)
def test_lines_that_make_no_sense(
    line: str, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert words in refusal(line, capsys)


@pytest.mark.parametrize("line", ["-Z disk", "-bZ disk", "--no-such disk", "--re disk"])
def test_an_unknown_option_tells_those_there_are(
    line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    said = refusal(line, capsys)
    assert "there is no option '-" in said
    assert all(option.names[0] in said for option in OPTIONS)
    assert "(see qcow2-dump -h)" in said


@pytest.mark.parametrize(
    ("line", "speaker"),
    [
        ("-R leak disk", "-R"),
        ("-R all --dry-run disk", "-R"),
        ("-A 1 disk", "-A"),
        ("-D all disk", "-D"),
        ("-E 0 disk", "-D"),
        ("-E 1 disk", "-E"),
        ("-M dirty disk", "-M"),
        ("-C corrupt disk", "-C"),
        ("-m edit -O 0x18 disk", "-m edit"),
        ("-m edit -O 0x18 -V 1 disk", "-m edit"),
        ("-m copy -O 0 -S 1 -w 8 disk", "-m copy"),
        ("-m rebase -F base disk", "-m rebase"),
    ],
)
def test_a_change_of_no_file(
    line: str,
    speaker: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(shlex.split(line)) == 254
    said = capsys.readouterr()
    assert said.err == f"qcow2-dump {speaker}: disk: No such file or directory\n"
    assert said.out == ""


def test_a_refused_change_leaves_the_image_alone(tmp_path: Path) -> None:
    image = std_image().write_to(tmp_path / "disk.qcow2")
    before = image.read_bytes()
    for words in (["-A", "1"], ["-m", "edit", "-O1048576", "-V0"], ["-m", "rebase", "-F", "gone"]):
        assert run(*words, image).returncode in (234, 254)
    assert image.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["disk.qcow2"]


def test_a_file_that_is_called_like_a_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    std_image().write_to(tmp_path / "info")
    assert main(["./info"]) == 0
    assert main(["-m", "info", "info"]) == 0
    assert main(["info"]) == 234
    assert "IMAGE is missing" in capsys.readouterr().err


@pytest.mark.parametrize(("damaged", "status"), [(False, 0), (True, 6)])
def test_the_status_as_a_shell_script_sees_it(tmp_path: Path, damaged: bool, status: int) -> None:
    image = std_image()
    if damaged:
        image.set_l2(0, 1, 0x8000000090000000)
    path = image.write_to(tmp_path / "disk.qcow2")
    script = f'{shlex.join(COMMAND)} -m check "$1" > /dev/null; echo $?'
    done = subprocess.run(
        ["sh", "-c", script, "sh", str(path)],
        capture_output=True,
        text=True,
        check=True,
        env=environment(CLUSTER_REUSE_MAX="1"),
        timeout=60,
    )
    assert (done.stdout, done.stderr) == (f"{status}\n", "")


def test_a_missing_image(tmp_path: Path) -> None:
    done = run(tmp_path / "none.qcow2")
    assert (done.returncode, done.stdout) == (254, "")
    assert "none.qcow2: No such file or directory" in done.stderr
