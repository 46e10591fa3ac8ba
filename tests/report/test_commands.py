"""Commands in advice can be typed as they stand."""

import shlex
import subprocess

import pytest

from qcow2_dump.report.commands import command, path


def test_a_name_with_spaces_is_quoted() -> None:
    line = command("explain", "my disk.qcow2")
    assert shlex.split(line) == ["qcow2-dump", "explain", "my disk.qcow2"]


NAMES = ["a\x1b[0m'\\b", "tab\there", "\udcff", "grün", "$(reboot)", "a b"]


@pytest.mark.parametrize("name", NAMES)
def test_a_shell_reads_back_the_very_name(name: str) -> None:
    line = command("explain", name)
    assert line.isprintable()
    done = subprocess.run(
        ["bash", "-c", line.replace("qcow2-dump explain", "printf %s", 1)],
        capture_output=True,
        check=True,
    )
    assert done.stdout == name.encode("utf-8", "surrogateescape")


def test_a_path_is_no_option() -> None:
    assert path("-rf") == "./-rf"
    assert path("disk.qcow2") == "disk.qcow2"
